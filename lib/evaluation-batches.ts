import { type EncodedExample, inBatches } from './data/batches.ts';
import { LightPeftError } from './errors.ts';
import type { RunOptions } from './run.ts';

/** Without a backward pass, larger batches gain nothing. */
export const EVALUATION_BATCH = 64;

/**
 * Batches of all examples, in their order.
 * @throws {LightPeftError} ABORTED
 */
export function* batchesOf<T extends EncodedExample>(
  examples: readonly T[],
  { signal }: RunOptions,
): Generator<T[]> {
  const all = Uint32Array.from(examples, (_, i) => i);
  for (const chosen of inBatches(all, EVALUATION_BATCH)) {
    if (signal?.aborted) throw new LightPeftError('ABORTED', 'stopped during the evaluation');
    yield [...chosen].map((i) => examples[i]!);
  }
}
