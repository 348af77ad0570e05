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

const labelOf = (logits: number[], labels: Exclude<LabelSet, { kind: 'tokens' }>): string | number => {
  if (labels.kind === 'regression') return logits[0]!;
  return labels.kind === 'classes' ? labels.names[largest(logits)]! : largest(logits);
};

/** Batches of all examples, in their order. */
function* batchesOf(
  examples: readonly EncodedExample[],
  { signal }: RunOptions,
): Generator<EncodedExample[]> {
  const all = Uint32Array.from(examples, (_, i) => i);
  for (const chosen of inBatches(all, EVALUATION_BATCH)) {
    if (signal?.aborted) throw new LightPeftError('ABORTED', 'stopped during the evaluation');
    yield [...chosen].map((i) => examples[i]!);
  }
}

/**
 * Logits of every example, in their order.
 * @throws {LightPeftError} BAD_OPTION: tokens are told
 */
export async function predictAll(
  session: Session,
  examples: readonly EncodedExample[],
  labels: LabelSet,
  run: RunOptions = {},
): Promise<Prediction[]> {
  if (labels.kind === 'tokens')
    throw new LightPeftError('BAD_OPTION', 'this adapter says tokens, and tells no labels; see generate');
  const width = logitsFor(labels);
  const out: Prediction[] = [];
  for (const chosen of batchesOf(examples, run)) {
    const batch = packBatch(chosen);
    const { logits } = await session.evaluate(batch);
    if (!logits.every(Number.isFinite))
      throw new LightPeftError('NOT_FINITE', 'the model gives logits that are not finite');
    for (const [b, idx] of batch.idx.entries()) {
      const row = [...logits.subarray(b * width, (b + 1) * width)];
      out.push({ idx, logits: row, label: labelOf(row, labels) });
    }
  }
  return out;
}

/** Of tokens that come next, or were masked. */
async function tokenMetrics(
  session: Session,
  examples: readonly EncodedExample[],
  metrics: readonly MetricName[],
  run: RunOptions,
): Promise<Record<string, number>> {
  let [loss, told, exact, right] = [0, 0, 0, 0];
  for (const chosen of batchesOf(examples, run)) {
    const result = await session.evaluate(packBatch(chosen));
    loss += result.loss;
    told += result.labelled;
    let at = 0;
    for (const { ids, truncated } of chosen) {
      // 1 or 0 of a token that was to be told, NaN of the others; of what was cut off nobody knows.
      const each = result.logits.subarray(at, at + ids.length);
      exact += Number(!truncated && each.includes(1) && !each.includes(0));
      for (const value of each) right += Number(value === 1);
      at += ids.length;
    }
  }
  const all: Partial<Record<MetricName, number>> = {
    exact_match: exact / examples.length,
    perplexity: Math.exp(loss / told),
    accuracy: right / told,
  };
  return Object.fromEntries(metrics.map((name) => [name, all[name] ?? NaN]));
}

export async function evaluateAll(
  session: Session,
  examples: readonly EncodedExample[],
  labels: LabelSet,
  metrics: readonly MetricName[],
  run: RunOptions = {},
): Promise<Evaluation> {
  const started = performance.now();
  const found = async () => {
    if (labels.kind === 'tokens') return tokenMetrics(session, examples, metrics, run);
    const predictions = await predictAll(session, examples, labels, run);
    const values = predictions.map(({ logits }) =>
      labels.kind === 'regression' ? logits[0]! : largest(logits),
    );
    const wanted = examples.map(({ label }) => label);
    return computeMetrics(metrics, values, wanted);
  };
  const all = await found();
  const seconds = (performance.now() - started) / 1000;
  const tokens = examples.reduce((sum, { ids }) => sum + ids.length, 0);
  return { metrics: all, seconds, tokensPerSecond: tokens / seconds };
}
