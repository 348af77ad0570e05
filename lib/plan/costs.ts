import type { Spec } from '../checkpoint/spec.ts';
import type { Costs } from './budget.ts';
import type { ModulePlace } from './scores.ts';

export type Sizes = Pick<Spec, 'hidden' | 'headSize'>;

/** Parameters of one head, of one neuron and of what else a layer has; all layers alike. */
export function parameterCosts({ hidden, headSize, layers }: Sizes & Pick<Spec, 'layers'>): Costs[] {
  const costs = {
    head: headSize * (3 * (hidden + 1) + hidden),
    neuron: 2 * hidden + 1,
    // The biases of both outputs and two norms.
    rest: 6 * hidden,
  };
  return Array.from({ length: layers }, () => costs);
}

/**
 * Operations of the forward pass for one token among texts of these lengths, in each layer; multiplications and
 * additions count one each. Of the last layer only keys and values are computed for all tokens, the rest for one of
 * each text.
 */
export function operationCosts(
  { hidden, headSize, layers }: Sizes & Pick<Spec, 'layers'>,
  lengths: readonly number[],
): Costs[] {
  const tokens = Math.max(
    1,
    lengths.reduce((sum, n) => sum + n, 0),
  );
  // A token meets as many keys as its text has tokens.
  const keys = lengths.reduce((sum, n) => sum + n * n, 0) / tokens;
  const costs = { head: headSize * (8 * hidden + 4 * keys), neuron: 4 * hidden, rest: 0 };
  const read = lengths.length / tokens;
  const last = { head: headSize * (4 * hidden * (1 + read) + 4), neuron: 4 * hidden * read, rest: 0 };
  return Array.from({ length: layers }, (_, layer) => (layer + 1 < layers ? costs : last));
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
  costs: readonly Costs[],
  layers: readonly { heads: { length: number }; neurons: { length: number } }[],
): number =>
  layers.reduce((sum, { heads, neurons }, layer) => {
    const { head, neuron, rest } = costs[layer]!;
    return sum + head * heads.length + neuron * neurons.length + rest;
  }, 0);
