import type { Plan } from './plan.ts';

export const GRANULARITIES = ['heads', 'neurons', 'modules', 'ranks'] as const;
export type Granularity = (typeof GRANULARITIES)[number];

/** How many units of each granularity a base and its whole adapter have. */
export type Totals = Record<Granularity, number>;

/** Names of what a plan keeps, by granularity. */
const keptOf = ({ layers, modules }: Plan): Record<Granularity, Set<string>> => ({
  heads: new Set(layers.flatMap(({ heads }, l) => heads.map((head) => `${l}.${head}`))),
  neurons: new Set(layers.flatMap(({ neurons }, l) => neurons.map((neuron) => `${l}.${neuron}`))),
  modules: new Set(modules.map(({ name }) => name)),
  ranks: new Set(modules.flatMap(({ name, ranks }) => ranks.map((rank) => `${name}.${rank}`))),
});

/** Normalised Hamming distances of two plans' masks, in [0, 1] (You et al. 2020, Early-Bird Tickets). */
export function distances(a: Plan, b: Plan, totals: Totals): Record<Granularity, number> {
  const [keptA, keptB] = [keptOf(a), keptOf(b)];
  const one = (granularity: Granularity): number => {
    const [x, y] = [keptA[granularity], keptB[granularity]];
    const both = [...x].filter((unit) => y.has(unit)).length;
    return (x.size + y.size - 2 * both) / Math.max(1, totals[granularity]);
  };
  return Object.fromEntries(GRANULARITIES.map((name) => [name, one(name)])) as Record<Granularity, number>;
}
