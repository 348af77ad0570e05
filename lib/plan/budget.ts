import { LightPeftError } from '../errors.ts';
import type { Scores } from './scores.ts';
import { bestFirst, worthOf } from './select.ts';

/** What one head, one neuron and the rest of a layer cost, in parameters, in operations or in seconds. */
export interface Costs {
  head: number;
  neuron: number;
  rest: number;
}

export interface BudgetOptions {
  /** Whether scores of heads and of neurons can be compared; otherwise each kind keeps the same share. */
  together: boolean;
  /** The share of the whole encoder's cost that may stay, in (0, 1]. */
  keep: number;
  /** Neurons go and stay by so many of a layer, as fast products like their widths. */
  roundTo: number;
  minHeads: number;
  /** Heads of each layer that come before all else, as far as the budget goes. */
  wantedHeads: number;
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
  price: number;
  wanted: boolean;
}

/** Sums in another order may differ by so much. */
const SLACK = 1 + 1e-9;

const percent = (share: number) => `${(100 * share).toFixed(1)} %`;

/**
 * Keeps what is worth most until the budget is spent: heads and neurons of all layers together by their worth for their
 * price, or each kind by itself. Every layer keeps its least, and a protected one all.
 * @param costs what the budget is of; a price is what a unit's worth is weighed against, where that is something else
 * @throws {LightPeftError} BAD_OPTION: what must stay costs more than the budget; the message says how much
 */
export function keepWithin(
  { heads, neurons }: Pick<Scores, 'heads' | 'neurons'>,
  { costs, prices = costs }: { costs: readonly Costs[]; prices?: readonly Costs[] | undefined },
  { keep, together, roundTo, minHeads, wantedHeads, minNeurons, protect }: BudgetOptions,
): Kept {
  const stray = protect.find((layer) => layer >= heads.length);
  if (stray !== undefined)
    throw new LightPeftError('BAD_OPTION', `--protect: there is no layer ${stray} among ${heads.length}`);
  const strange = [costs, prices].find(({ length }) => length !== heads.length);
  if (strange)
    throw new LightPeftError('BAD_OPTION', `costs of ${strange.length} layers for ${heads.length}`);
  const order = { heads: heads.map(bestFirst), neurons: neurons.map(bestFirst) };
  const values = { heads, neurons };
  const counts = { heads: heads.map(() => 0), neurons: neurons.map(() => 0) };
  const pieces: Piece[] = [];
  const rest = costs.reduce((sum, layer) => sum + layer.rest, 0);
  const total = { heads: 0, neurons: 0 };
  const spent = { heads: 0, neurons: 0 };
  for (const layer of heads.keys()) {
    for (const [kind, each, least, cost, price] of [
      ['heads', 1, minHeads, costs[layer]!.head, prices[layer]!.head],
      ['neurons', roundTo, minNeurons, costs[layer]!.neuron, prices[layer]!.neuron],
    ] as const) {
      const best = order[kind][layer]!;
      total[kind] += best.length * cost;
      for (let first = 0; first < best.length; first += each) {
        const units = best.slice(first, first + each);
        if (first < least || protect.includes(layer)) {
          counts[kind][layer]! += units.length;
          spent[kind] += units.length * cost;
        } else {
          const score = worthOf(units, values[kind][layer]!);
          pieces.push({
            ...{ layer, kind, count: units.length, score },
            ...{ cost: units.length * cost, price: units.length * price },
            wanted: kind === 'heads' && first < wantedHeads && !Number.isNaN(score),
          });
        }
      }
    }
  }
  const whole = rest + total.heads + total.neurons;
  const share = (rest + spent.heads + spent.neurons) / whole;
  if (share > keep * SLACK)
    throw new LightPeftError(
      'BAD_OPTION',
      `the budget of ${percent(keep)} cannot be met: what must stay takes ${percent(share)}`,
    );
  // Pieces of one kind cost the same but for the last of a layer, so that by themselves they need no price.
  const worth = ({ score, price, count }: Piece) =>
    Number.isNaN(score) ? -Infinity : score / (together ? price : count);
  pieces.sort((a, b) => Number(b.wanted) - Number(a.wanted) || worth(b) - worth(a) || 0);
  const mayCost = keep * whole - rest;
  const take = (of: Piece[], limit: number, soFar: () => number) => {
    for (const { layer, kind, count, cost } of of) {
      if (soFar() + cost > limit * SLACK) continue;
      counts[kind][layer]! += count;
      spent[kind] += cost;
    }
  };
  const both = () => spent.heads + spent.neurons;
  if (!together)
    for (const kind of ['heads', 'neurons'] as const)
      take(
        pieces.filter((piece) => piece.kind === kind),
        Math.min((mayCost * total[kind]) / (total.heads + total.neurons), mayCost - both() + spent[kind]),
        () => spent[kind],
      );
  else take(pieces, mayCost, both);
  const kept = (kind: 'heads' | 'neurons') =>
    order[kind].map((best, layer) => best.slice(0, counts[kind][layer]).sort((a, b) => a - b));
  return { heads: kept('heads'), neurons: kept('neurons') };
}
