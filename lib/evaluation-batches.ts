import { type EncodedExample, inBatches, packBatch, type PackedBatch } from './data/batches.ts';
import type { Session } from './engine.ts';
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

/**
 * What a head gives for all examples, batch by batch.
 * @throws {LightPeftError} ABORTED; NOT_FINITE
 */
export async function* evaluated(
  session: Session,
  examples: readonly EncodedExample[],
  run: RunOptions,
): AsyncGenerator<{ batch: PackedBatch; logits: Float32Array }> {
  for (const chosen of batchesOf(examples, run)) {
    const batch = packBatch(chosen);
    const { logits } = await session.evaluate(batch);
    if (!logits.every(Number.isFinite))
      throw new LightPeftError('NOT_FINITE', 'the model gives logits that are not finite');
    yield { batch, logits };
  }
}
