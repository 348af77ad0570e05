import type { EncodedExample } from './batches.ts';
import { UNTOLD } from './completions.ts';
import type { Random } from './random.ts';

/** Of a vocabulary, for texts of which some tokens are to be told from the others. */
export interface Masking {
  /** The share of tokens that are to be told. */
  rate: number;
  /** What stands for most of them. */
  mask: number;
  /** How many tokens there are to put in place of others. */
  vocab: number;
  /** Tokens that are never to be told. */
  special: ReadonlySet<number>;
}

/**
 * The text with tokens to tell, as BERT's authors have it (Devlin et al. 2019): of those drawn four in five are masked, one
 * in ten is another token, and one in ten stays.
 */
export function masked(
  example: EncodedExample,
  random: Random,
  { rate, mask, vocab, special }: Masking,
): EncodedExample {
  const ids = example.ids.slice();
  const tokenLabels = new Int32Array(ids.length).fill(UNTOLD);
  const draw = () => random.next() / 2 ** 32;
  for (const [t, id] of example.ids.entries()) {
    if (special.has(id) || draw() >= rate) continue;
    tokenLabels[t] = id;
    const kind = draw();
    if (kind < 0.8) ids[t] = mask;
    else if (kind < 0.9) ids[t] = random.below(vocab);
  }
  return { ...example, ids, tokenLabels };
}

/** The text, of which each token tells the next. */
export function shifted(example: EncodedExample): EncodedExample {
  const tokenLabels = new Int32Array(example.ids.length).fill(UNTOLD);
  tokenLabels.set(example.ids.subarray(1));
  return { ...example, tokenLabels };
}
