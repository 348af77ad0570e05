import type { z } from 'zod';
import { LightPeftError } from '../errors.ts';

/**
 * The fields of a config.json that `schema` names.
 * @throws {LightPeftError} BAD_CONFIG naming the file and every field that is wrong
 */
export function parseFields<T>(schema: z.ZodType<T>, config: Record<string, unknown>, file: string): T {
  const read = schema.safeParse(config);
  if (read.success) return read.data;
  const wrong = read.error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`);
  throw new LightPeftError('BAD_CONFIG', `${file}: ${wrong.join('; ')}`, { cause: read.error });
}
