import type { SpanFeature } from './spans.ts';

/** For each of a feature's T tokens, how likely an answer begins and ends with it. */
export interface SpanLogits {
  start: ArrayLike<number>; // [T]
  end: ArrayLike<number>; // [T]
}

/** Those of transformers' run_qa and of SQuAD. */
const LIKELIEST = 20;
const LONGEST = 30;

/** The tokens with the highest logits; of equal ones, the earlier first. */
const likeliest = (logits: ArrayLike<number>): number[] =>
  Array.from(logits, (_, t) => t)
    .sort((a, b) => logits[b]! - logits[a]!)
    .slice(0, LIKELIEST);

/** The best answer in one window; undefined where its likeliest tokens begin and end none. */
const bestIn = ({ begins, ends }: SpanFeature, { start, end }: SpanLogits) => {
  let best: { begin: number; end: number; score: number } | undefined;
  const lasts = likeliest(end).filter((t) => ends[t]! >= 0);
  for (const first of likeliest(start).filter((t) => begins[t]! >= 0))
    for (const last of lasts) {
      const score = start[first]! + end[last]!;
      // Some tokens stand for nothing that could be seen.
      const seen = ends[last]! > begins[first]!;
      if (last < first || last - first >= LONGEST || !seen) continue;
      if (best === undefined || score > best.score) best = { begin: begins[first]!, end: ends[last]!, score };
    }
  return best;
};

/**
 * What is answered to each example, [examples], as transformers' run_qa finds it: the span of the highest sum of two
 * logits, over all windows, among the 20 likeliest first and last tokens and of 30 tokens at most. Where `unanswerable`
 * allows it, the answer is "", none, if the first token's sum is higher, in that window where it is lowest. It is "" as
 * well, and not run_qa's "empty", where no window has a span.
 * @param features of all examples, as encodeSpans gives them, and `logits` of each
 * @param contexts of the examples
 */
export function answersOf(
  features: readonly SpanFeature[],
  logits: readonly SpanLogits[],
  contexts: readonly string[],
  { unanswerable }: { unanswerable: boolean },
): string[] {
  const answers = contexts.map(() => ({ text: '', score: -Infinity, none: Infinity }));
  features.forEach((feature, i) => {
    const answer = answers[feature.example]!;
    const { start, end } = logits[i]!;
    answer.none = Math.min(answer.none, start[0]! + end[0]!);
    const best = bestIn(feature, logits[i]!);
    if (best === undefined || best.score <= answer.score) return;
    answer.score = best.score;
    answer.text = contexts[feature.example]!.slice(best.begin, best.end);
  });
  return answers.map(({ text, score, none }) => (unanswerable && none > score ? '' : text));
}
