import { LightPeftError } from './errors.ts';

/** From 0 to 1, where SQuAD's own script prints percents. */
export interface SpanMetrics {
  exact_match: number;
  f1: number;
}

// Those of ASCII, as Python's string.punctuation.
const PUNCTUATION = /[!-/:-@[-`{-~]/g;
// Python's \b; that of JavaScript knows the letters of ASCII only.
const ARTICLES = /(?<![\p{L}\p{N}_])(?:an?|the)(?![\p{L}\p{N}_])/gu;
const SPACES = /\p{White_Space}+/u;

/** The words of an answer that count. */
const wordsOf = (text: string): string[] =>
  text
    .toLowerCase()
    .replace(PUNCTUATION, '')
    .replace(ARTICLES, ' ')
    .split(SPACES)
    .filter((word) => word !== '');

const exact = (told: readonly string[], meant: readonly string[]): number =>
  Number(told.join(' ') === meant.join(' '));

/** The harmonic mean of precision and recall of words, each as often as it occurs. */
const overlap = (told: readonly string[], meant: readonly string[]): number => {
  if (told.length === 0 || meant.length === 0) return exact(told, meant);
  const left = [...meant];
  for (const word of told) {
    const at = left.indexOf(word);
    if (at >= 0) left.splice(at, 1);
  }
  return (2 * (meant.length - left.length)) / (told.length + meant.length);
};

/**
 * The means over n questions of SQuAD 2's measures, the best over a question's answers, which for questions that have
 * one are SQuAD 1.1's. A question without an answer, or whose answers are but articles and punctuation, is right where
 * nothing is told. NaN of no question.
 * @param answers [n] that are right, of each question
 * @throws {LightPeftError} INTERNAL: the lengths differ
 */
export function spanMetrics(
  predictions: readonly string[],
  answers: readonly (readonly string[])[],
): SpanMetrics {
  if (predictions.length !== answers.length)
    throw new LightPeftError(
      'INTERNAL',
      `${predictions.length} answers do not fit ${answers.length} questions`,
    );
  const totals = { exact_match: 0, f1: 0 };
  predictions.forEach((prediction, i) => {
    const told = wordsOf(prediction);
    const given = answers[i]!.map(wordsOf).filter((words) => words.length > 0);
    const meant = given.length === 0 ? [[]] : given;
    totals.exact_match += Math.max(...meant.map((words) => exact(told, words)));
    totals.f1 += Math.max(...meant.map((words) => overlap(told, words)));
  });
  return { exact_match: totals.exact_match / answers.length, f1: totals.f1 / answers.length };
}
