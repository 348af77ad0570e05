import { expect } from 'chai';
import { Random } from '../../lib/data/random.ts';
import { type BudgetOptions, type Costs, keepWithin } from '../../lib/plan/budget.ts';
import { encoder } from '../../lib/checkpoint/encoder-config.ts';
import { encoderCost, operationCosts, parameterCosts } from '../../lib/plan/costs.ts';
import { randomLayers, range } from './arrays.ts';

const SPEC = { ...encoder(64, 4), hidden: 64, layers: 4 };
const COSTS = parameterCosts(SPEC);
const [EACH] = COSTS as [Costs];
const OPTIONS: BudgetOptions = {
  keep: 0.6,
  together: true,
  roundTo: 16,
  minHeads: 1,
  wantedHeads: 0,
  minNeurons: 8,
  protect: [],
};

const scores = (seed: number) => {
  const random = new Random(seed);
  return { heads: randomLayers(random, 4, 4), neurons: randomLayers(random, 4, 128) };
};

const layersOf = ({ heads, neurons }: { heads: number[][]; neurons: number[][] }) =>
  heads.map((kept, l) => ({ heads: kept, neurons: neurons[l]! }));

const share = (kept: { heads: number[][]; neurons: number[][] }) =>
  encoderCost(COSTS, layersOf(kept)) /
  encoderCost(
    COSTS,
    layersOf({ heads: range(4).map(() => range(4)), neurons: range(4).map(() => range(128)) }),
  );

describe('costs', () => {
  it('count the parameters of a layer', () => {
    const layer = { heads: range(4), neurons: range(128) };
    const linear = (inputs: number, outputs: number) => (inputs + 1) * outputs;
    const expected = 4 * linear(64, 64) + linear(64, 128) + linear(128, 64) + 4 * 64;
    expect(encoderCost(COSTS, [layer])).equal(expected);
  });

  it('count the operations of a token in texts of different lengths', () => {
    const [{ head, neuron }, , , last] = operationCosts(SPEC, [10, 30]) as [Costs, Costs, Costs, Costs];
    // 8 products of hidden x 16, and scores and context over (100 + 900) / 40 = 25 keys.
    expect(head).equal(8 * 64 * 16 + 4 * 25 * 16);
    expect(neuron).equal(4 * 64);
    // Keys and values of all forty tokens; the rest, with forty keys, of two.
    expect(last.head).equal((40 * 4 * 64 * 16 + 2 * 4 * 64 * 16 + 40 * 4 * 16) / 40);
    expect(last.neuron).equal((2 * 4 * 64) / 40);
  });
});

describe('a budget', () => {
  it('is met and nearly spent, with widths rounded and every layer alive', () => {
    for (const keep of [0.3, 0.45, 0.6, 0.9, 1]) {
      const kept = keepWithin(scores(1), { costs: COSTS }, { ...OPTIONS, keep });
      const found = share(kept);
      const largest = Math.max(EACH.head, 16 * EACH.neuron);
      expect(found).within(
        keep - largest / encoderCost(COSTS, [{ heads: range(4), neurons: range(128) }]),
        keep,
      );
      for (const heads of kept.heads) expect(heads.length).least(1);
      for (const neurons of kept.neurons) {
        expect(neurons.length).least(8);
        expect(neurons.length % 16).equal(0);
      }
    }
  });

  it('keeps the best of each layer', () => {
    const given = scores(2);
    const kept = keepWithin(given, { costs: COSTS }, OPTIONS);
    for (const [l, neurons] of kept.neurons.entries()) {
      const worst = Math.min(...neurons.map((i) => given.neurons[l]![i]!));
      const lost = range(128).filter((i) => !neurons.includes(i));
      for (const i of lost) expect(given.neurons[l]![i]!).most(worst);
    }
  });

  it('weighs heads against neurons by what they cost', () => {
    const equal = { heads: [Float32Array.of(1, 1)], neurons: [new Float32Array(32).fill(1)] };
    // A head costs as much as thirty neurons and more: of equal scores the neurons are worth more.
    const { heads, neurons } = keepWithin(equal, { costs: [EACH] }, { ...OPTIONS, keep: 0.75, roundTo: 1 });
    expect(neurons[0]).lengthOf(32);
    expect(heads[0]).lengthOf(1);
  });

  it('weighs worth against what a unit takes where that is not what the budget is of', () => {
    const prices = COSTS.map((each, layer) => (layer === 3 ? { head: 1e-3, neuron: 1e-3, rest: 0 } : each));
    const kept = keepWithin(scores(7), { costs: COSTS, prices }, OPTIONS);
    expect([kept.heads[3], kept.neurons[3]]).deep.equal([range(4), range(128)]);
    expect(share(kept)).within(0.57, 0.6);
  });

  it('keeps the same share of both where their scores cannot be compared', () => {
    const given = scores(5);
    for (const layer of given.heads) layer.forEach((_, i) => (layer[i]! -= 100)); // signed, and of another scale
    const { heads, neurons } = keepWithin(
      given,
      { costs: COSTS },
      {
        ...OPTIONS,
        together: false,
        keep: 0.5,
        roundTo: 1,
      },
    );
    const total = (kept: number[][]) => kept.reduce((sum, { length }) => sum + length, 0);
    expect(total(heads) / 16).closeTo(total(neurons) / 512, 1 / 16);
    expect(share({ heads, neurons })).within(0.45, 0.5);
    const worst = Math.min(...heads.flatMap((kept, l) => kept.map((i) => given.heads[l]![i]!)));
    const lost = heads.flatMap((kept, l) =>
      range(4)
        .filter((i) => !kept.includes(i))
        .map((i) => given.heads[l]![i]!),
    );
    expect(Math.max(...lost)).most(worst + 100); // one head of a layer may stay for its layer alone
  });

  it('keeps everything where all may stay', () => {
    for (const together of [true, false]) {
      const kept = keepWithin(
        scores(6),
        { costs: range(4).map(() => ({ head: 1.1, neuron: 0.3, rest: 0.7 })) },
        { ...OPTIONS, together, keep: 1 },
      );
      expect(kept.heads.every(({ length }) => length === 4)).equal(true);
      expect(kept.neurons.every(({ length }) => length === 128)).equal(true);
    }
  });

  it('leaves protected layers whole', () => {
    const kept = keepWithin(scores(3), { costs: COSTS }, { ...OPTIONS, protect: [2] });
    expect(kept.heads[2]).deep.equal(range(4));
    expect(kept.neurons[2]).deep.equal(range(128));
    expect(share(kept)).most(0.6);
  });

  it('says what can be met where it cannot be', () => {
    const refused = () => keepWithin(scores(4), { costs: COSTS }, { ...OPTIONS, keep: 0.05 });
    expect(refused).throw(/5\.0 % cannot be met: what must stay takes [12]\d\.\d %/);
    const stray = () => keepWithin(scores(4), { costs: COSTS }, { ...OPTIONS, protect: [4] });
    expect(stray).throw(/there is no layer 4 among 4/);
  });

  it('takes NaN for the lowest', () => {
    const given = {
      heads: [Float32Array.of(NaN, 1)],
      neurons: [Float32Array.from({ length: 32 }, (_, i) => (i < 16 ? NaN : 1))],
    };
    const { heads, neurons } = keepWithin(given, { costs: [EACH] }, { ...OPTIONS, keep: 0.62 });
    expect(heads[0]).deep.equal([1]);
    expect(neurons[0]).deep.equal(range(32).slice(16));
  });

  it('takes the heads that are wanted before all else, as far as the budget goes, and none that are gone', () => {
    const given = scores(5);
    // Heads are worth next to nothing, and one layer has a single one left.
    const heads = given.heads.map((of, layer) => of.map((x, i) => (layer === 0 && i > 0 ? NaN : x * 1e-6)));
    const kept = keepWithin({ ...given, heads }, { costs: COSTS }, { ...OPTIONS, wantedHeads: 3 });
    expect(kept.heads.map(({ length }) => length)).deep.equal([1, 3, 3, 3]);
    const few = keepWithin({ ...given, heads }, { costs: COSTS }, { ...OPTIONS, keep: 0.2, wantedHeads: 4 });
    expect(share(few)).most(0.2 + 1e-9);
  });
});
