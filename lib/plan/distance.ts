import type { Plan } from './plan.ts';

export const GRANULARITIES = ['heads', 'neurons', 'modules', 'ranks'] as const;
export type Granularity = (typeof GRANULARITIES)[number];

/** How many units of each granularity a base and its whole adapter have. */
export type Totals = Record<Granularity, number>;

/** How many are in one of two ascending lists alone. */
function apart(a: readonly number[], b: readonly number[]): number {
  let both = 0;
  for (let i = 0, j = 0; i < a.length && j < b.length;) {
    const [x, y] = [a[i]!, b[j]!];
    both += Number(x === y);
    i += Number(x <= y);
    j += Number(y <= x);
  }
  return a.length + b.length - 2 * both;
}

const sum = (values: readonly number[]): number => values.reduce((all, value) => all + value, 0);

/** Normalised Hamming distances of the masks of two plans for one base, in [0, 1] (You et al. 2020, Early-Bird Tickets). */
export function distances(a: Plan, b: Plan, totals: Totals): Record<Granularity, number> {
  const units = (kind: 'heads' | 'neurons') =>
    sum(a.layers.map((layer, l) => apart(layer[kind], b.layers[l]![kind])));
  const [ranksOfA, ranksOfB] = [a, b].map(
    ({ modules }) => new Map(modules.map(({ name, ranks }) => [name, ranks])),
  );
  const names = [...new Set([...ranksOfA!.keys(), ...ranksOfB!.keys()])];
  const share = (kind: Granularity, count: number) => count / Math.max(1, totals[kind]);
  return {
    heads: share('heads', units('heads')),
    neurons: share('neurons', units('neurons')),
    modules: share('modules', names.filter((name) => !ranksOfA!.has(name) || !ranksOfB!.has(name)).length),
    ranks: share(
      'ranks',
      sum(names.map((name) => apart(ranksOfA!.get(name) ?? [], ranksOfB!.get(name) ?? []))),
    ),
  };
}
