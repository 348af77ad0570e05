import { LightPeftError } from '../../lib/errors.ts';

/** The one error that set-up ends with; `reason` is a single line. */
export const setupFailed = (reason: string, cause?: unknown): LightPeftError =>
  new LightPeftError('SETUP_FAILED', reason, { cause });
