import { LightPeftError } from '../errors.ts';
import type { Scores } from './scores.ts';

/** What one head, one neuron and the rest of a layer cost, in parameters or in operations. */
export interface Costs {
  head: number;
  neuron: number;
  rest: number;
}

export interface BudgetOptions {
  /** The share of the whole encoder's cost that may stay, in (0, 1]. */
  keep: number;
  /** Neurons go and stay by so many of a layer, as fast products like their widths. */
  roundTo: number;
  minHeads: number;
  minNeurons: number;
  /** Layers that lose nothing. */
  protect: readonly number[];
}

export interface Kept {
  heads: number[][];
  neurons: number[][];
}

/** Some of a layer's best units that are not taken yet. */
interface Piece {
  layer: number;
  kind: 'heads' | 'neurons';
  count: number;
  score: number;
  cost: number;
}

/** Indices, best first; NaN counts as the lowest, and of equal scores the lower index is the better. */
const ranked = (scores: Float32Array): number[] => {
  const of = (i: number) => (Number.isNaN(scores[i]!) ? -Infinity : scores[i]!);
  return [...scores.keys()].sort((a, b) => of(b) - of(a) || a - b);
};

const percent = (share: number) => `${(100 * share).toFixed(1)} %`;

/**
 * Keeps what is worth most for its cost, heads and neurons of all layers together, until the budget is spent. Every layer
 * keeps its least, and a protected one all.
 * @throws {LightPeftError} BAD_OPTION: what must stay costs more than the budget; the message says how much
 */
export function keepWithin(
  { heads, neurons }: Pick<Scores, 'heads' | 'neurons'>,
  costs: Costs,
  { keep, roundTo, minHeads, minNeurons, protect }: BudgetOptions,
): Kept {
  const stray = protect.find((layer) => layer >= heads.length);
  if (stray !== undefined)
    throw new LightPeftError('BAD_OPTION', `--protect: there is no layer ${stray} among ${heads.length}`);
  const order = { heads: heads.map(ranked), neurons: neurons.map(ranked) };
  const values = { heads, neurons };
  const counts = { heads: heads.map(() => 0), neurons: neurons.map(() => 0) };
  const pieces: Piece[] = [];
  let total = 0;
  let spent = 0;
  for (const layer of heads.keys()) {
    total += costs.rest;
    spent += costs.rest;
    for (const [kind, each, least, cost] of [
      ['heads', 1, minHeads, costs.head],
      ['neurons', roundTo, minNeurons, costs.neuron],
    ] as const) {
      const best = order[kind][layer]!;
      total += best.length * cost;
      for (let first = 0; first < best.length; first += each) {
        const units = best.slice(first, first + each);
        if (first < least || protect.includes(layer)) {
          counts[kind][layer]! += units.length;
          spent += units.length * cost;
        } else {
          const score = units.reduce((sum, i) => sum + values[kind][layer]![i]!, 0);
          pieces.push({ layer, kind, count: units.length, score, cost: units.length * cost });
        }
      }
    }
  }
  if (spent > keep * total)
    throw new LightPeftError(
      'BAD_OPTION',
      `the budget of ${percent(keep)} cannot be met: what must stay takes ${percent(spent / total)}`,
    );
  const worth = ({ score, cost }: Piece) => (Number.isNaN(score) ? -Infinity : score / cost);
  pieces.sort((a, b) => worth(b) - worth(a) || 0);
  for (const { layer, kind, count, cost } of pieces) {
    if (spent + cost > keep * total) continue;
    counts[kind][layer]! += count;
    spent += cost;
  }
  const kept = (kind: 'heads' | 'neurons') =>
    order[kind].map((best, layer) => best.slice(0, counts[kind][layer]).sort((a, b) => a - b));
  return { heads: kept('heads'), neurons: kept('neurons') };
}
