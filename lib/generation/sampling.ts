import type { Random } from '../data/random.ts';

export interface Sampling {
  /** Logits are divided by it. */
  temperature: number;
  /** Of the likeliest tokens; 0: all. */
  topK: number;
  /** The likeliest tokens that have so much probability together (nucleus sampling, Holtzman et al. 2020). */
  topP: number;
}

/** Draws a token from its logits [vocab]: temperature, then top-k, then top-p, in the order of transformers. */
export function drawn(logits: Float32Array, { temperature, topK, topP }: Sampling, random: Random): number {
  const order = Array.from(logits.keys()).sort((a, b) => logits[b]! - logits[a]! || a - b);
  const some = topK > 0 ? order.slice(0, topK) : order;
  const top = logits[some[0]!]!;
  const weights = some.map((token) => Math.exp((logits[token]! - top) / temperature));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  let kept = 0;
  for (let mass = 0; kept < some.length && (kept === 0 || mass < topP * total); kept++)
    mass += weights[kept]!;
  const mass = weights.slice(0, kept).reduce((sum, weight) => sum + weight, 0);
  let at = ((random.next() + 0.5) / 2 ** 32) * mass;
  for (let i = 0; i + 1 < kept; i++) {
    at -= weights[i]!;
    if (at < 0) return some[i]!;
  }
  return some[kept - 1]!;
}
