import { type EncodedExample, inBatches, packBatch } from './data/batches.ts';
import { type LabelSet, logitsFor } from './data/labels.ts';
import type { Session } from './engine.ts';
import { LightPeftError } from './errors.ts';
import { computeMetrics, type MetricName } from './metrics.ts';
import type { RunOptions } from './run.ts';

export interface Prediction {
  idx: number;
  logits: number[];
  /** The name of the likeliest class, the place of the likeliest choice, or the value. */
  label: string | number;
}

export interface Evaluation {
  metrics: Record<string, number>;
  seconds: number;
  tokensPerSecond: number;
}

/** Without a backward pass, larger batches gain nothing. */
export const EVALUATION_BATCH = 64;

const largest = (logits: number[]): number => logits.indexOf(Math.max(...logits));

const labelOf = (logits: number[], labels: LabelSet): string | number => {
  if (labels.kind === 'regression') return logits[0]!;
  return labels.kind === 'classes' ? labels.names[largest(logits)]! : largest(logits);
};

/** Logits of every example, in their order. */
export async function predictAll(
  session: Session,
  examples: readonly EncodedExample[],
  labels: LabelSet,
  { signal }: RunOptions = {},
): Promise<Prediction[]> {
  const width = logitsFor(labels);
  const out: Prediction[] = [];
  for (const chosen of inBatches(
    Uint32Array.from(examples, (_, i) => i),
    EVALUATION_BATCH,
  )) {
    if (signal?.aborted) throw new LightPeftError('ABORTED', 'stopped during the evaluation');
    const batch = packBatch([...chosen].map((i) => examples[i]!));
    const { logits } = await session.evaluate(batch);
    if (!logits.every(Number.isFinite))
      throw new LightPeftError('NOT_FINITE', 'the model gives logits that are not finite');
    for (const [b, idx] of batch.idx.entries()) {
      const row = [...logits.subarray(b * width, (b + 1) * width)];
      out.push({
        idx,
        logits: row,
        label: labelOf(row, labels),
      });
    }
  }
  return out;
}

export async function evaluateAll(
  session: Session,
  examples: readonly EncodedExample[],
  labels: LabelSet,
  metrics: readonly MetricName[],
  run: RunOptions = {},
): Promise<Evaluation> {
  const started = performance.now();
  const predictions = await predictAll(session, examples, labels, run);
  const seconds = (performance.now() - started) / 1000;
  const values = predictions.map(({ logits }) =>
    labels.kind === 'regression' ? logits[0]! : largest(logits),
  );
  const tokens = examples.reduce((sum, { ids }) => sum + ids.length, 0);
  return {
    metrics: computeMetrics(
      metrics,
      values,
      examples.map(({ label }) => label),
    ),
    seconds,
    tokensPerSecond: tokens / seconds,
  };
}
