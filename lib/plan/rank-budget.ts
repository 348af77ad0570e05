import { rankCost, type Sizes } from './costs.ts';
import type { Plan } from './plan.ts';
import type { ModuleScores, Scores } from './scores.ts';
import { bestFirst, worthOf } from './select.ts';

export interface RankBudget {
  /** The share of the whole adapter's parameters that may stay, in (0, 1]. */
  keep: number;
  sizes: Sizes;
  /** Ranks of a module come by so many, the best of them first: its work is that of whole tiles. */
  roundTo: number;
}

/** Some of a module's ranks, best first. */
interface Piece {
  module: number;
  ranks: number[];
  /** Parameters of each. */
  cost: number;
  worth: number;
}

/**
 * The ranks that are worth most for their parameters, of all modules together, while the budget lasts; one at least.
 * @param modules those that may stay
 * @param layers what stays of heads and neurons
 */
export function ranksWithin(
  modules: readonly ModuleScores[],
  { heads, neurons, modules: all }: Scores,
  layers: Plan['layers'],
  { keep, sizes, roundTo }: RankBudget,
): Plan['modules'] {
  const whole = all.reduce((sum, { layer, site, ranks }) => {
    const units = { heads: heads[layer]!.length, neurons: neurons[layer]!.length };
    return sum + ranks.length * rankCost(sizes, site, units);
  }, 0);
  const pieces = modules.flatMap(({ layer, site, ranks: scores }, module) => {
    const units = { heads: layers[layer]!.heads.length, neurons: layers[layer]!.neurons.length };
    const cost = rankCost(sizes, site, units);
    const best = bestFirst(scores);
    return Array.from({ length: Math.ceil(best.length / roundTo) }, (_, i): Piece => {
      const ranks = best.slice(i * roundTo, (i + 1) * roundTo);
      const worth = worthOf(ranks, scores) / (ranks.length * cost);
      return { module, ranks, cost, worth: Number.isNaN(worth) ? -Infinity : worth };
    });
  });
  // Two infinities differ by NaN, which leaves it to what follows as 0 does.
  pieces.sort((a, b) => b.worth - a.worth || a.module - b.module || a.ranks[0]! - b.ranks[0]!);
  const kept: number[][] = modules.map(() => []);
  let spent = 0;
  for (const [i, { module, ranks, cost }] of pieces.entries()) {
    // The first may be more than all that may stay.
    const count =
      i === 0 ? Math.max(1, Math.min(ranks.length, Math.floor((keep * whole) / cost))) : ranks.length;
    if (i > 0 && spent + count * cost > keep * whole) continue;
    kept[module]!.push(...ranks.slice(0, count));
    spent += count * cost;
  }
  return modules.map(({ name }, i) => ({ name, ranks: kept[i]!.sort((a, b) => a - b) }));
}
