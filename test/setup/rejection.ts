import { LightPeftError } from '../../lib/errors.ts';

/** The LightPeftError that `work` ends with. */
export async function rejection(work: () => unknown): Promise<LightPeftError> {
  try {
    await work();
  } catch (error) {
    if (error instanceof LightPeftError) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
}
