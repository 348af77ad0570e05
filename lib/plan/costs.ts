import { linearSize } from '../checkpoint/shapes.ts';
import type { Site, Spec } from '../checkpoint/spec.ts';
import type { Costs } from './budget.ts';
import type { ModulePlace } from './scores.ts';

export type Sizes = Pick<Spec, 'hidden' | 'headSize' | 'group'>;
type Block = Sizes & Pick<Spec, 'layers' | 'gated' | 'biases' | 'norm' | 'sharedNorm' | 'fused'>;

/** Parameters of one head, of one neuron and of what else a layer has; all layers alike. A head is one with keys. */
export function parameterCosts(spec: Block): Costs[] {
  const { hidden, headSize, group, layers, biases, norm } = spec;
  const bias = (site: Site) => Number(biases.includes(site));
  const rows = (site: 'query' | 'key' | 'value') => hidden + bias(spec.fused === 'no' ? site : 'qkv');
  const costs = {
    head: headSize * (group * (rows('query') + hidden) + rows('key') + rows('value')),
    neuron: (spec.gated ? 3 : 2) * hidden + bias('intermediate') + bias('gate'),
    rest:
      hidden *
      (bias('attention.output') + bias('output') + (norm === 'layer' ? 2 : 1) * (spec.sharedNorm ? 1 : 2)),
  };
  return Array.from({ length: layers }, () => costs);
}

/**
 * Operations of the forward pass for one token among texts of these lengths, in each layer; multiplications and
 * additions count one each. Of the last layer only keys and values are computed for all tokens, the rest for one of
 * each text, except where all tokens tell something.
 */
export function operationCosts(
  { hidden, headSize, group, layers, gated, causal }: Block & Pick<Spec, 'causal'>,
  lengths: readonly number[],
  { every = false } = {},
): Costs[] {
  const tokens = Math.max(
    1,
    lengths.reduce((sum, n) => sum + n, 0),
  );
  // A token meets as many keys as its text has tokens, or in the mean half of them.
  const keys = lengths.reduce((sum, n) => sum + (causal ? (n * (n + 1)) / 2 : n * n), 0) / tokens;
  const query = group * headSize;
  const wide = gated ? 6 : 4;
  const costs = {
    head: 4 * hidden * (query + headSize) + 4 * keys * query,
    neuron: wide * hidden,
    rest: 0,
  };
  const read = lengths.length / tokens;
  const last = {
    head: 4 * hidden * (headSize + read * query) + 4 * query,
    neuron: wide * hidden * read,
    rest: 0,
  };
  return Array.from({ length: layers }, (_, layer) => (every || layer + 1 < layers ? costs : last));
}

/** Parameters of one rank of the module at a site of a layer with so many heads and neurons. */
export function rankCost(
  { hidden, headSize, group }: Sizes,
  site: ModulePlace['site'],
  { heads, neurons }: { heads: number; neurons: number },
): number {
  const [outputs, inputs] = linearSize({ hidden, headSize, group, heads, ffn: neurons }, site);
  return outputs + inputs;
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
