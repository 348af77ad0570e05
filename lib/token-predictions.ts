import { answersOf, type SpanLogits } from './data/answers.ts';
import type { EncodedExample } from './data/batches.ts';
import { UNTOLD } from './data/completions.ts';
import type { Dataset } from './data/dataset.ts';
import type { Session } from './engine.ts';
import { evaluated } from './evaluation-batches.ts';
import type { RunOptions } from './run.ts';
import { spanMetrics } from './span-metrics.ts';
import { tagMetrics } from './tag-metrics.ts';

export interface TagPrediction {
  idx: number;
  /** Of each word; null where it was cut off. */
  tags: (string | null)[];
}

export interface AnswerPrediction {
  idx: number;
  id?: string;
  /** '' where the text has none. */
  answer: string;
}

/** What a head gives for the tokens of each example, [T, outputs]. */
async function outputsOf(
  session: Session,
  examples: readonly EncodedExample[],
  run: RunOptions,
): Promise<Float32Array[]> {
  const found: Float32Array[] = [];
  for await (const { batch, logits } of evaluated(session, examples, run)) {
    const width = logits.length / batch.ids.length;
    for (let b = 0; b + 1 < batch.cuSeqlens.length; b++)
      found.push(logits.slice(batch.cuSeqlens[b]! * width, batch.cuSeqlens[b + 1]! * width));
  }
  return found;
}

export async function predictTags(
  session: Session,
  tagged: NonNullable<Dataset['tagged']>,
  names: readonly string[],
  run: RunOptions,
): Promise<TagPrediction[]> {
  const outputs = await outputsOf(session, tagged, run);
  return tagged.map(({ idx, words }, i) => {
    const likeliest = (token: number): string => {
      const logits = outputs[i]!.subarray(token * names.length, (token + 1) * names.length);
      return names[logits.indexOf(Math.max(...logits))]!;
    };
    return { idx, tags: Array.from(words, (token) => (token < 0 ? null : likeliest(token))) };
  });
}

/** Of words that were not cut off and are to be told. */
export async function tagEvaluation(
  session: Session,
  tagged: NonNullable<Dataset['tagged']>,
  names: readonly string[],
  run: RunOptions,
): Promise<Record<string, number>> {
  const predicted = await predictTags(session, tagged, names, run);
  const kept = tagged.map(({ words, tokenLabels }) =>
    [...words.keys()].filter((w) => words[w]! >= 0 && tokenLabels[words[w]!] !== UNTOLD),
  );
  return {
    ...tagMetrics(
      predicted.map(({ tags }, i) => kept[i]!.map((w) => tags[w]!)),
      tagged.map(({ words, tokenLabels }, i) => kept[i]!.map((w) => names[tokenLabels[words[w]!]!]!)),
    ),
  };
}

export async function predictAnswers(
  session: Session,
  { features, questions }: NonNullable<Dataset['asked']>,
  unanswerable: boolean,
  run: RunOptions,
): Promise<AnswerPrediction[]> {
  const outputs = await outputsOf(session, features, run);
  const logits = outputs.map((both): SpanLogits => {
    const of = (end: number) => both.filter((_, i) => i % 2 === end);
    return { start: of(0), end: of(1) };
  });
  const contexts = questions.map(({ context }) => context);
  const answers = answersOf(features, logits, contexts, { unanswerable });
  return questions.map(({ idx, id }, i) => ({ idx, ...(id !== undefined && { id }), answer: answers[i]! }));
}

export async function answerEvaluation(
  session: Session,
  asked: NonNullable<Dataset['asked']>,
  unanswerable: boolean,
  run: RunOptions,
): Promise<Record<string, number>> {
  const predicted = await predictAnswers(session, asked, unanswerable, run);
  return {
    ...spanMetrics(
      predicted.map(({ answer }) => answer),
      asked.questions.map(({ answers }) => answers!.map(({ text }) => text)),
    ),
  };
}
