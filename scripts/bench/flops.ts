import type { Lengths, Shape } from './shapes.ts';

/** What is left of a layer: heads, neurons, and the rank of the module at each site (0: none). */
export interface LayerWork {
  heads: number;
  neurons: number;
  ranks: number[];
}

/** Tokens of a batch, those that a last layer must compute, and pairs of which one token sees the other. */
const countOf = (lengths: Lengths, causal = false) => ({
  tokens: lengths.reduce((sum, n) => sum + n, 0),
  firsts: lengths.length,
  pairs: lengths.reduce((sum, n) => sum + (causal ? (n * (n + 1)) / 2 : n * n), 0),
});

/**
 * Floating point operations of a training or inference step over one batch that are executed: base forward, input
 * gradients, attention (two products forward, four backward) and LoRA; multiplications and additions count one each.
 * With `firstsOnly`, of the last layer keys and values alone are computed for every token, the rest for the first of
 * each text (of a decoder the last). A decoder's attention counts the pairs that are seen, not those that are masked. The
 * embeddings, norms, activations and the head are not counted.
 */
export function flopsOf(
  shape: Shape,
  layers: readonly LayerWork[],
  lengths: Lengths,
  { train, firstsOnly }: { train: boolean; firstsOnly: boolean },
): number {
  const { hidden, heads: whole, causal } = shape;
  const { tokens, firsts, pairs } = countOf(lengths, causal);
  const lowest = layers.findIndex(({ ranks }) => ranks.some((rank) => rank > 0));
  let total = 0;
  for (const [l, { heads, neurons, ranks }] of layers.entries()) {
    const last = firstsOnly && l === layers.length - 1;
    const some = last ? firsts : tokens;
    const width = (heads * hidden) / whole;
    const sites: [rows: number, input: number, output: number][] = [
      [some, hidden, width],
      [tokens, hidden, width],
      [tokens, hidden, width],
      [some, width, hidden],
      [some, hidden, neurons],
      [some, neurons, hidden],
    ];
    const backward = train && lowest >= 0 && l >= lowest;
    // In the lowest layer gradients go down to its first module and no further.
    const first = ranks.findIndex((rank) => rank > 0);
    for (const [site, [rows, input, output]] of sites.entries()) {
      const reached = backward && (l > lowest || (site > first && site > 2));
      total += 2 * rows * input * output * (reached ? 2 : 1);
      total += 2 * rows * ranks[site]! * (input + output) * (backward ? 3 : 1);
    }
    const products = last ? tokens * width : pairs * width;
    total += 4 * products * (backward && (l > lowest || first <= 2) ? 3 : 1);
  }
  return total;
}

/**
 * Bytes that the backward pass of frozen layers with LoRA needs from the forward pass, in bfloat16, of the largest
 * batch: of each token in each layer the block's and the FFN's input, query, key, value, context and what goes into
 * the activation; the layer's output is the next one's input.
 */
export function activationMinimum(
  { hidden, heads: whole }: Shape,
  layers: readonly LayerWork[],
  batches: readonly Lengths[],
): number {
  const tokens = Math.max(...batches.map((lengths) => countOf(lengths).tokens));
  const values = layers.map(({ heads, neurons }) => 2 * hidden + (4 * heads * hidden) / whole + neurons);
  return 2 * tokens * values.reduce((sum, n) => sum + n, 0);
}
