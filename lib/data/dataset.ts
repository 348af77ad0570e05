import { LightPeftError } from '../errors.ts';
import { checkMetrics, type MetricName } from '../metrics.ts';
import { usualMetrics } from '../tasks.ts';
import type { Encoded, Tokenizer } from '../tokenizer.ts';
import type { EncodedExample } from './batches.ts';
import { encodeCompletions, UNTOLD } from './completions.ts';
import { type Example, readExamples } from './examples.ts';
import { encodeLabel, inferLabels, type LabelSet } from './labels.ts';
import type { Reading } from './reading.ts';
import { type Asked, encodeSpans, readSpans, someUnanswerable, type SpanFeature } from './spans.ts';
import { type EncodedTags, encodeTags, inferTags, readTagged } from './tags.ts';

/** The sequences of an example's choices, one behind the other. */
const inOne = (parts: readonly Encoded[]): Encoded & { lengths: number[] } => ({
  ids: Int32Array.from(parts.flatMap(({ ids }) => [...ids])),
  typeIds: Int32Array.from(parts.flatMap(({ typeIds }) => [...typeIds])),
  truncated: parts.some(({ truncated }) => truncated),
  lengths: parts.map(({ ids }) => ids.length),
});

/** A file's examples, tokenized. */
export interface Dataset {
  examples: EncodedExample[];
  labels: LabelSet;
  metrics: readonly MetricName[];
  /** The same examples, where words with tags were read, or questions, which may have several. */
  tagged?: EncodedTags[];
  asked?: { features: SpanFeature[]; questions: Asked[] };
  /** How many texts were cut to the longest length allowed. */
  truncated: number;
  maxLength: number;
}

/** @throws {LightPeftError} BAD_DATA: a text has no token, not even a special one */
function checkTokens(file: string, examples: readonly Example[], encoded: readonly Encoded[]): void {
  const empty = examples.find((_, i) => encoded[i]!.ids.length === 0);
  if (empty) throw new LightPeftError('BAD_DATA', `${file}:${empty.line}: the text has no token`);
}

/** Of which tokens are to be told. */
async function readCompletions(
  file: string,
  { columns, end, metrics = ['exact_match', 'perplexity'] }: Reading,
  tokenizer: Tokenizer,
  maxLength: number,
): Promise<Dataset> {
  const labels: LabelSet = { kind: 'tokens' };
  checkMetrics(metrics, labels);
  const examples = await readExamples(file, columns, { labelOptional: true });
  const encoded = await encodeCompletions(
    examples.map(({ texts }) => texts),
    tokenizer,
    { maxLength, end },
  );
  checkTokens(file, examples, encoded);
  const untold = encoded.filter(({ tokenLabels }) => tokenLabels.every((label) => label === UNTOLD)).length;
  if (untold === encoded.length)
    throw new LightPeftError(
      'BAD_DATA',
      `${file}: no token is left to be told; prompts may be longer than ${maxLength} tokens`,
    );
  return {
    labels,
    metrics,
    maxLength,
    truncated: encoded.filter(({ truncated }) => truncated).length,
    examples: encoded.map((tokens, i) => ({ ...tokens, idx: examples[i]!.idx, label: NaN })),
  };
}

/** Of words with tags. */
async function readTags(
  file: string,
  { columns, labels, metrics }: Reading,
  tokenizer: Tokenizer,
  { maxLength, unlabelled }: { maxLength: number; unlabelled: boolean },
): Promise<Dataset> {
  const [words] = columns.text;
  const rows = await readTagged(file, { words, tags: columns.label! }, { tagsOptional: unlabelled });
  const names = labels?.kind === 'tags' ? labels.names : inferTags(rows, file);
  const tagged = await encodeTags(rows, names, tokenizer, { maxLength, file, unlabelled });
  if (!unlabelled && tagged.every(({ tokenLabels }) => tokenLabels.every((label) => label === UNTOLD)))
    throw new LightPeftError('BAD_DATA', `${file}: no word is left to be told`);
  const set: LabelSet = { kind: 'tags', names };
  if (metrics) checkMetrics(metrics, set);
  return {
    ...{ examples: tagged, tagged, labels: set, metrics: metrics ?? usualMetrics(set), maxLength },
    truncated: tagged.filter(({ truncated }) => truncated).length,
  };
}

/** Of questions and the texts that answer them. */
async function readQuestions(
  file: string,
  { columns, labels: given, metrics, stride }: Reading,
  tokenizer: Tokenizer,
  { maxLength, unlabelled }: { maxLength: number; unlabelled: boolean },
): Promise<Dataset> {
  const [question, context] = columns.text;
  const names = { question, context: context!, answers: columns.label! };
  const questions = await readSpans(file, names, { answersOptional: unlabelled });
  const features = await encodeSpans(questions, tokenizer, { maxLength, stride, file });
  const unanswerable = given?.kind === 'spans' ? given.unanswerable : undefined;
  const labels: LabelSet = { kind: 'spans', unanswerable: unanswerable ?? someUnanswerable(questions) };
  if (metrics) checkMetrics(metrics, labels);
  return {
    ...{ examples: features, asked: { features, questions }, labels },
    ...{ metrics: metrics ?? usualMetrics(labels), maxLength, truncated: 0 },
  };
}

export async function readDataset(
  file: string,
  reading: Reading,
  tokenizer: Tokenizer,
  { maxLength, unlabelled = false }: { maxLength: number; unlabelled?: boolean },
): Promise<Dataset> {
  const given = reading.labels;
  if (given?.kind === 'tokens') return readCompletions(file, reading, tokenizer, maxLength);
  if (given?.kind === 'tags' || reading.told === 'tags')
    return readTags(file, reading, tokenizer, { maxLength, unlabelled });
  if (given?.kind === 'spans') return readQuestions(file, reading, tokenizer, { maxLength, unlabelled });
  const { columns, template, choices } = reading;
  const examples: Example[] = await readExamples(file, columns, {
    ...{ template, choices, labelOptional: unlabelled },
  });
  const labels = given ?? inferLabels(examples, file);
  if ((labels.kind === 'choices' ? labels.count : undefined) !== choices?.length)
    throw new LightPeftError(
      'BAD_OPTION',
      `${file}: the labels tell choices apart; --task or --choice-columns must say which`,
    );
  const metrics = reading.metrics ?? usualMetrics(labels);
  checkMetrics(metrics, labels);
  const sequences = examples.flatMap((example) => example.choices ?? [example.texts]);
  const all = await tokenizer.encode(sequences, { maxLength });
  const each = choices?.length ?? 1;
  const encoded = examples.map((_, i) => (each === 1 ? all[i]! : inOne(all.slice(i * each, (i + 1) * each))));
  checkTokens(file, examples, encoded);
  return {
    labels,
    metrics,
    maxLength,
    truncated: encoded.filter(({ truncated }) => truncated).length,
    examples: encoded.map((tokens, i) => ({
      ...tokens,
      idx: examples[i]!.idx,
      label: encodeLabel(examples[i]!.label, labels, `${file}:${examples[i]!.line}`, {
        unlabelled: unlabelled ? 'allow' : 'refuse',
      }),
    })),
  };
}
