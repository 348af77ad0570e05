import { type LabelSet, logitsFor } from './data/labels.ts';
import { LightPeftError } from './errors.ts';

/** By the names that `evaluate` and GLUE give them; `f1` is that of class 1 of two. */
export type MetricName =
  | ClassMetric
  /** Of entities that tags are of, as seqeval counts. */
  | 'precision'
  | 'recall'
  /** Of texts: those told without a fault, each token after the right ones, or answers; and exp of the mean loss of a token. */
  | 'exact_match'
  | 'perplexity';
type ClassMetric = 'accuracy' | 'f1' | 'macro_f1' | 'matthews_correlation' | 'pearson' | 'spearmanr';

/** Class indices, or values of a regression. */
type Values = ArrayLike<number>;
type Metric = (predictions: Values, labels: Values) => number;

const sum = (values: Values): number => {
  let total = 0;
  for (let i = 0; i < values.length; i++) total += values[i]!;
  return total;
};

const hasNaN = (values: Values): boolean => Array.from(values).some(Number.isNaN);

/** How often each class is predicted and meant ([C] each, C one more than the highest), and how often both. */
const countClasses = (predictions: Values, labels: Values) => {
  let classes = 0;
  for (let i = 0; i < labels.length; i++) classes = Math.max(classes, predictions[i]! + 1, labels[i]! + 1);
  const [predicted, meant, both] = [0, 0, 0].map(() => new Float64Array(classes)) as [
    Float64Array,
    Float64Array,
    Float64Array,
  ];
  for (let i = 0; i < labels.length; i++) {
    const [prediction, label] = [predictions[i]!, labels[i]!];
    predicted[prediction]!++;
    meant[label]!++;
    if (prediction === label) both[label]!++;
  }
  return { predicted, meant, both };
};

const accuracy: Metric = (predictions, labels) => {
  let right = 0;
  for (let i = 0; i < labels.length; i++) if (predictions[i] === labels[i]) right++;
  return right / labels.length;
};

/** 0 where the class is neither predicted nor meant, as in scikit-learn. */
const f1Of = (both: number, predicted: number, meant: number): number =>
  predicted + meant === 0 ? 0 : (2 * both) / (predicted + meant);

const f1: Metric = (predictions, labels) => {
  const { predicted, meant, both } = countClasses(predictions, labels);
  if (meant.length > 2)
    throw new LightPeftError('BAD_OPTION', 'f1 is for two classes; macro_f1 is for any number');
  return f1Of(both[1] ?? 0, predicted[1] ?? 0, meant[1] ?? 0);
};

/** The mean over those classes that are predicted or meant, as in scikit-learn. */
const macroF1: Metric = (predictions, labels) => {
  const { predicted, meant, both } = countClasses(predictions, labels);
  const scores: number[] = [];
  for (let c = 0; c < meant.length; c++)
    if (predicted[c]! + meant[c]! > 0) scores.push(f1Of(both[c]!, predicted[c]!, meant[c]!));
  return sum(scores) / scores.length;
};

/** For any number of classes (Gorodkin's R_K); 0 where all predictions or all labels are alike, as in scikit-learn. */
const matthews: Metric = (predictions, labels) => {
  const { predicted, meant, both } = countClasses(predictions, labels);
  const n = labels.length;
  const dot = (a: Float64Array, b: Float64Array) => sum(a.map((value, c) => value * b[c]!));
  const covariance = sum(both) * n - dot(predicted, meant);
  const spread = (n * n - dot(predicted, predicted)) * (n * n - dot(meant, meant));
  return spread === 0 ? 0 : covariance / Math.sqrt(spread);
};

/** Rounding would make a tiny, meaningless spread out of equal values that are not exact in binary. */
const isConstant = (values: Float64Array): boolean => values.every((value) => value === values[0]);

/** Less their mean, and scaled to length 1. */
const unit = (values: Float64Array): Float64Array => {
  const mean = sum(values) / values.length;
  const centred = values.map((value) => value - mean);
  const length = Math.sqrt(sum(centred.map((value) => value * value)));
  return centred.map((value) => value / length);
};

/** NaN, that is undefined, where either side is constant, as in SciPy: 0 would claim that they were compared. */
const pearson: Metric = (predictions, labels) => {
  const [x, y] = [Float64Array.from(predictions), Float64Array.from(labels)];
  if (isConstant(x) || isConstant(y)) return NaN;
  const [a, b] = [unit(x), unit(y)];
  const r = sum(a.map((value, i) => value * b[i]!));
  return Math.max(-1, Math.min(1, r));
};

/** 1-based ranks; equal values share the mean of theirs. */
const ranks = (values: Values): Float64Array => {
  const order = Uint32Array.from({ length: values.length }, (_, i) => i);
  order.sort((a, b) => values[a]! - values[b]!);
  const ranked = new Float64Array(values.length);
  for (let start = 0, end = 0; start < order.length; start = end) {
    while (end < order.length && values[order[end]!] === values[order[start]!]) end++;
    for (let i = start; i < end; i++) ranked[order[i]!] = (start + 1 + end) / 2;
  }
  return ranked;
};

const spearman: Metric = (predictions, labels) => {
  // NaN has no rank, and equals not even itself.
  if (hasNaN(predictions)) return NaN;
  return pearson(ranks(predictions), ranks(labels));
};

const METRICS: Record<ClassMetric, Metric> = {
  accuracy,
  f1,
  macro_f1: macroF1,
  matthews_correlation: matthews,
  pearson,
  spearmanr: spearman,
};

const OF_VALUES: readonly (MetricName | undefined)[] = ['pearson', 'spearmanr'];

/** Whether it measures values, whatever numbers these are. */
export const isOfValues = (name: MetricName | undefined): boolean => OF_VALUES.includes(name);

/** What labels of tokens are measured by. */
const OF_TOKENS: Partial<Record<LabelSet['kind'], readonly MetricName[]>> = {
  tags: ['f1', 'precision', 'recall', 'accuracy'],
  spans: ['exact_match', 'f1'],
  tokens: ['exact_match', 'perplexity', 'accuracy'],
};

/** @throws {LightPeftError} BAD_OPTION: a metric says nothing about labels of this kind */
export function checkMetrics(names: readonly MetricName[], labels: LabelSet): void {
  const known = OF_TOKENS[labels.kind] ?? (Object.keys(METRICS) as MetricName[]);
  const unknown = names.find((name) => !known.includes(name));
  if (unknown !== undefined)
    throw new LightPeftError(
      'BAD_OPTION',
      `${unknown} says nothing of what is told here; see ${known.join(', ')}`,
    );
  if (labels.kind in OF_TOKENS) return;
  for (const name of names) {
    if (isOfValues(name) !== (labels.kind === 'regression')) {
      const kind = labels.kind === 'regression' ? 'values' : 'classes';
      throw new LightPeftError('BAD_OPTION', `${name} is no metric of ${kind}`);
    }
    if (name === 'f1' && logitsFor(labels) > 2)
      throw new LightPeftError('BAD_OPTION', 'f1 is for two classes; macro_f1 is for any number');
  }
}

/**
 * The named metrics of n labelled predictions, in that order. NaN, which JSON prints as null, is an undefined one:
 * pearson and spearmanr of a constant, and all but matthews_correlation and f1 of nothing.
 * @throws {LightPeftError} BAD_OPTION: `f1` of more than two classes; INTERNAL: the lengths differ, or a row is unlabelled
 */
export const computeMetrics = (
  names: readonly MetricName[],
  predictions: Values,
  labels: Values,
): Record<string, number> => {
  if (predictions.length !== labels.length || hasNaN(labels))
    throw new LightPeftError(
      'INTERNAL',
      `${predictions.length} predictions do not fit ${labels.length} labels`,
    );
  return Object.fromEntries(names.map((name) => [name, METRICS[name as ClassMetric](predictions, labels)]));
};
