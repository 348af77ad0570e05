import type { Spec } from '../checkpoint/spec.ts';
import type { Costs } from './budget.ts';
import type { ModulePlace } from './scores.ts';

export type Sizes = Pick<Spec, 'hidden' | 'headSize'>;

/** Parameters of one head, of one neuron and of what else a layer has. */
export const parameterCosts = ({ hidden, headSize }: Sizes): Costs => ({
  head: headSize * (3 * (hidden + 1) + hidden),
  neuron: 2 * hidden + 1,
  // The biases of both outputs and two norms.
  rest: 6 * hidden,
});

/**
 * Operations of the forward pass for one token among texts of these lengths; multiplications and additions count one
 * each.
 */
export function operationCosts({ hidden, headSize }: Sizes, lengths: readonly number[]): Costs {
  const tokens = lengths.reduce((sum, n) => sum + n, 0);
  // A token meets as many keys as its text has tokens.
  const keys = lengths.reduce((sum, n) => sum + n * n, 0) / Math.max(1, tokens);
  return { head: headSize * (8 * hidden + 4 * keys), neuron: 4 * hidden, rest: 0 };
}

/** Parameters of one rank of the module at a site of a layer with so many heads and neurons. */
export function rankCost(
  { hidden, headSize }: Sizes,
  site: ModulePlace['site'],
  { heads, neurons }: { heads: number; neurons: number },
): number {
  if (site === 'intermediate' || site === 'output') return hidden + neurons;
  return hidden + heads * headSize;
}

/** Of a whole encoder, or of what is kept of its layers. */
export const encoderCost = (
  { head, neuron, rest }: Costs,
  layers: readonly { heads: { length: number }; neurons: { length: number } }[],
): number =>
  layers.reduce((sum, { heads, neurons }) => sum + head * heads.length + neuron * neurons.length + rest, 0);
