import { type EncodedExample, packBatch } from './data/batches.ts';
import type { Dataset } from './data/dataset.ts';
import { logitsFor, type WholeLabels } from './data/labels.ts';
import type { Session } from './engine.ts';
import { LightPeftError } from './errors.ts';
import { batchesOf, evaluated } from './evaluation-batches.ts';
import { computeMetrics } from './metrics.ts';
import type { RunOptions } from './run.ts';
import {
  type AnswerPrediction,
  answerEvaluation,
  predictAnswers,
  predictTags,
  tagEvaluation,
  type TagPrediction,
} from './token-predictions.ts';

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

const largest = (logits: number[]): number => logits.indexOf(Math.max(...logits));

const labelOf = (logits: number[], labels: WholeLabels): string | number => {
  if (labels.kind === 'regression') return logits[0]!;
  return labels.kind === 'classes' ? labels.names[largest(logits)]! : largest(logits) + (labels.first ?? 0);
};

/** Logits of every example, in their order. */
async function predictWhole(
  session: Session,
  examples: readonly EncodedExample[],
  labels: WholeLabels,
  run: RunOptions,
): Promise<Prediction[]> {
  const width = logitsFor(labels);
  const out: Prediction[] = [];
  for await (const { batch, logits } of evaluated(session, examples, run))
    for (const [b, idx] of batch.idx.entries()) {
      const row = [...logits.subarray(b * width, (b + 1) * width)];
      out.push({ idx, logits: row, label: labelOf(row, labels) });
    }
  return out;
}

/**
 * What is told of every example, in their order.
 * @throws {LightPeftError} BAD_OPTION: tokens are told
 */
export async function predictAll(
  session: Session,
  { examples, labels, tagged, asked }: Dataset,
  run: RunOptions = {},
): Promise<(Prediction | TagPrediction | AnswerPrediction)[]> {
  switch (labels.kind) {
    case 'tokens':
      throw new LightPeftError('BAD_OPTION', 'this adapter says tokens, and tells no labels; see generate');
    case 'tags':
      return predictTags(session, tagged!, labels.names, run);
    case 'spans':
      return predictAnswers(session, asked!, labels.unanswerable ?? false, run);
    default:
      return predictWhole(session, examples, labels, run);
  }
}

/** Of tokens that come next, or were masked. */
async function tokenMetrics(
  session: Session,
  examples: readonly EncodedExample[],
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
  return {
    exact_match: exact / examples.length,
    perplexity: Math.exp(loss / told),
    accuracy: right / told,
  };
}

async function metricsOf(
  session: Session,
  { examples, labels, metrics, tagged, asked }: Dataset,
  run: RunOptions,
): Promise<Record<string, number>> {
  switch (labels.kind) {
    case 'tokens':
      return tokenMetrics(session, examples, run);
    case 'tags':
      return tagEvaluation(session, tagged!, labels.names, run);
    case 'spans':
      return answerEvaluation(session, asked!, labels.unanswerable ?? false, run);
    default: {
      const predictions = await predictWhole(session, examples, labels, run);
      const values = predictions.map(({ logits }) =>
        labels.kind === 'regression' ? logits[0]! : largest(logits),
      );
      return computeMetrics(
        metrics,
        values,
        examples.map(({ label }) => label),
      );
    }
  }
}

export async function evaluateAll(
  session: Session,
  data: Dataset,
  run: RunOptions = {},
): Promise<Evaluation> {
  const started = performance.now();
  const all = await metricsOf(session, data, run);
  const seconds = (performance.now() - started) / 1000;
  const tokens = data.examples.reduce((sum, { ids }) => sum + ids.length, 0);
  const chosen = Object.fromEntries(data.metrics.map((name) => [name, all[name]!]));
  return { metrics: chosen, seconds, tokensPerSecond: tokens / seconds };
}
