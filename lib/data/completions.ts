import type { Encoded, Tokenizer } from '../tokenizer.ts';
import type { Texts } from './examples.ts';

/** Tokens whose label is this are not to be told. */
export const UNTOLD = -100;

export interface Completed extends Encoded {
  /** [T]: what comes after each token where it is to be told. */
  tokenLabels: Int32Array;
}

/** A line of its own, where the prompt does not end with white space. */
const joined = ([prompt, completion]: Texts): string => {
  if (completion === undefined) return prompt;
  return `${prompt}${/\s$/.test(prompt) || prompt === '' ? '' : '\n'}${completion}`;
};

const shared = (a: Int32Array, b: Int32Array): number => {
  let n = 0;
  while (n < a.length && n < b.length && a[n] === b[n]) n++;
  return n;
};

/**
 * Prompts with what is to be said after them, or texts alone, of which all is to be told; each with the token that ends
 * a text. Of a prompt nothing is told, and the completion begins where its tokens differ from those of the prompt alone.
 * @param end of the vocabulary; undefined: texts end without one
 */
export async function encodeCompletions(
  texts: readonly Texts[],
  tokenizer: Tokenizer,
  { maxLength, end }: { maxLength: number; end: number | undefined },
): Promise<Completed[]> {
  const whole = await tokenizer.encode(
    texts.map((pair): Texts => [joined(pair)]),
    { maxLength },
  );
  const prompts = await tokenizer.encode(
    texts.map(([prompt, completion]): Texts => [completion === undefined ? '' : prompt]),
    { maxLength },
  );
  return whole.map(({ ids: found, truncated }, i) => {
    const ends = end === undefined || truncated || found.at(-1) === end || found.length >= maxLength;
    const ids = ends ? found : Int32Array.from([...found, end]);
    const told = Math.max(1, shared(prompts[i]!.ids, ids));
    const tokenLabels = ids.map((_, t) => (t + 1 >= told && t + 1 < ids.length ? ids[t + 1]! : UNTOLD));
    return { ids, typeIds: new Int32Array(ids.length), truncated, tokenLabels };
  });
}
