import { expect } from 'chai';
import { distances } from '../../lib/plan/distance.ts';
import { emptyPlan, type Plan } from '../../lib/plan/plan.ts';
import { Settling } from '../../lib/plan/settling.ts';
import { range } from './arrays.ts';

const TOTALS = { heads: 8, neurons: 64, modules: 4, ranks: 16 };
const whole = emptyPlan(
  { fingerprint: 'base', layers: 2, heads: 4, ffn: 32 },
  range(4).map((i) => ({ name: `module.${i}`, rank: 4 })),
);
/** Without a head of the first layer. */
const without = (head: number): Plan => ({
  ...whole,
  layers: whole.layers.map((layer, l) =>
    l === 0 ? { ...layer, heads: layer.heads.filter((kept) => kept !== head) } : layer,
  ),
});

describe('the distance of plans', () => {
  it('is the share of the units that only one of them keeps', () => {
    expect(distances(whole, whole, TOTALS)).deep.equal({ heads: 0, neurons: 0, modules: 0, ranks: 0 });
    expect(distances(without(0), without(1), TOTALS).heads).equal(2 / 8);
    const fewer = { ...whole, modules: [{ name: 'module.1', ranks: [0, 3] }] };
    expect(distances(whole, fewer, TOTALS)).include({ modules: 3 / 4, ranks: 14 / 16 });
  });
});

describe('the early-bird criterion', () => {
  it('is met by five plans that are close, and not before', () => {
    const settling = new Settling(TOTALS, 0.1);
    const ends = [10, 20, 30, 40, 50].map((step) => settling.add(whole, step));
    expect(ends).deep.equal([false, false, false, false, true]);
    expect(settling.settled).deep.equal({ heads: 50, neurons: 50, modules: 50, ranks: 50 });
  });

  it('waits for the last granularity, and forgets one that moves again', () => {
    const settling = new Settling(TOTALS, 0.1);
    for (const step of [1, 2, 3, 4]) settling.add(whole, step);
    expect(settling.add(without(0), 5)).equal(false); // 1/8 of the heads
    expect(settling.settled).deep.equal({ neurons: 5, modules: 5, ranks: 5 });
    for (const step of [6, 7, 8]) expect(settling.add(without(0), step)).equal(false);
    expect(settling.add(without(0), 9)).equal(true);
    expect(settling.settled.heads).equal(9);
    settling.add(whole, 10);
    expect(settling.settled.heads).equal(undefined);
  });

  it('goes on from its state', () => {
    const first = new Settling(TOTALS, 0.1);
    for (const step of [1, 2, 3, 4]) first.add(whole, step);
    const second = new Settling(TOTALS, 0.1);
    second.state = JSON.parse(JSON.stringify(first.state)) as typeof first.state;
    expect(second.add(whole, 5)).equal(true);
  });
});
