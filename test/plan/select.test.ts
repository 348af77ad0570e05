import { expect } from 'chai';
import { Random } from '../../lib/data/random.ts';
import { keepAboveQuantile, keepTop, quantile, type Scope } from '../../lib/plan/select.ts';
import { equalLayers, randomLayers, range, total } from './arrays.ts';

const SCOPES: Scope[] = ['layer', 'global'];
const RATIOS = [0, 0.1, 1 / 3, 0.333333333, 0.5, 0.75, 0.999];

/** No layer drops a score above one that it keeps; kept indices ascend. */
const expectBest = (scores: ArrayLike<number>[], kept: number[][]): void => {
  expect(kept).to.have.lengthOf(scores.length);
  kept.forEach((indices, layer) => {
    const values = Array.from(scores[layer]!);
    expect(indices).to.deep.equal([...new Set(indices)].sort((a, b) => a - b));
    const dropped = values.filter((_, i) => !indices.includes(i));
    const lowest = Math.min(...indices.map((i) => values[i]!));
    expect(lowest >= Math.max(...dropped)).to.equal(true);
  });
};

describe('keepTop', () => {
  it('prunes the exact share of random scores, tied or not, and keeps the best', () => {
    const random = new Random(1);
    for (let trial = 0; trial < 60; trial++) {
      const width = 1 + random.below(40);
      const scores = randomLayers(random, 1 + random.below(5), width, trial % 2 ? 3 : undefined);
      const all = scores.length * width;
      for (const ratio of RATIOS) {
        const byLayer = keepTop(scores, ratio, { scope: 'layer', atLeast: 0 });
        for (const { length } of byLayer) expect(length).to.equal(width - Math.round(ratio * width));
        const inAll = keepTop(scores, ratio, { scope: 'global', atLeast: 0 });
        expect(total(inAll)).to.equal(all - Math.round(ratio * all));
        expectBest(scores, byLayer);
        expectBest(scores, inAll);
      }
    }
  });

  it('pays the floors from the same budget, and exceeds it only for them', () => {
    const random = new Random(2);
    for (let trial = 0; trial < 60; trial++) {
      const width = 1 + random.below(20);
      const scores = randomLayers(random, 4, width, trial % 2 ? 2 : undefined);
      scores[2]!.fill(-1);
      for (const ratio of RATIOS) {
        const floor = Math.min(3, width);
        const kept = keepTop(scores, ratio, { scope: 'global', atLeast: 3 });
        expect(total(kept)).to.equal(Math.max(4 * width - Math.round(ratio * 4 * width), 4 * floor));
        for (const { length } of kept) expect(length).to.be.at.least(floor);
        expectBest(scores, kept);
      }
    }
  });

  for (const keep of [keepTop, keepAboveQuantile])
    it(`${keep.name}: fills layers up with the best of what would go, to whole widths`, () => {
      const random = new Random(7);
      for (let trial = 0; trial < 30; trial++) {
        const scores = randomLayers(random, 4, 1 + random.below(60), trial % 2 ? 5 : undefined);
        for (const scope of SCOPES)
          for (const ratio of RATIOS) {
            const counts = keep(scores, ratio, { scope, atLeast: 0 }).map(({ length }) => length);
            const kept = keep(scores, ratio, { scope, atLeast: 0, roundTo: 8 });
            kept.forEach(({ length }, layer) =>
              expect(length).to.equal(Math.min(scores[layer]!.length, 8 * Math.ceil(counts[layer]! / 8))),
            );
            expectBest(scores, kept);
          }
      }
    });

  it('compares all layers in the global scope', () => {
    const scores = [Float32Array.of(1, 2, 3), Float32Array.of(4, 5, 6)];
    expect(keepTop(scores, 0.5, { scope: 'global', atLeast: 0 })).to.deep.equal([[], [0, 1, 2]]);
    expect(keepTop(scores, 0.5, { scope: 'global', atLeast: 1 })).to.deep.equal([[2], [1, 2]]);
    expect(keepTop(scores, 1 / 3, { scope: 'layer', atLeast: 0 })).to.deep.equal([
      [1, 2],
      [1, 2],
    ]);
  });

  it('lets the lower index win a tie', () => {
    expect(keepTop(equalLayers(2, 4), 0.5, { scope: 'layer', atLeast: 0 })).to.deep.equal([
      [0, 1],
      [0, 1],
    ]);
    expect(keepTop(equalLayers(2, 4), 0.5, { scope: 'global', atLeast: 1 })).to.deep.equal([[0, 1, 2], [0]]);
    expect(keepTop([Float32Array.of(0, -0, 0)], 1 / 3, { scope: 'layer', atLeast: 0 })).to.deep.equal([
      [0, 1],
    ]);
  });

  it('takes NaN for the lowest, with infinities about', () => {
    const scores = [Float32Array.of(NaN, -5, Infinity, NaN, Infinity, 0)];
    const keep = (ratio: number) => keepTop(scores, ratio, { scope: 'global', atLeast: 0 })[0];
    expect(keep(1 / 3)).to.deep.equal([1, 2, 4, 5]);
    expect(keep(1 / 2)).to.deep.equal([2, 4, 5]);
    expect(keep(5 / 6)).to.deep.equal([2]);
  });

  it('leaves its input alone and takes empty ones', () => {
    const scores = [Float32Array.of(NaN, 3, 1)];
    keepTop(scores, 0.5, { scope: 'global', atLeast: 1 });
    expect([...scores[0]!]).to.deep.equal([NaN, 3, 1]);
    for (const keep of [keepTop, keepAboveQuantile])
      for (const scope of SCOPES) {
        expect(keep([], 0.5, { scope, atLeast: 1 })).to.deep.equal([]);
        expect(keep([new Float32Array()], 0.5, { scope, atLeast: 1 })).to.deep.equal([[]]);
      }
  });
});

describe('keepAboveQuantile', () => {
  it('prunes floor(ratio * (n - 1)) + 1 of distinct scores', () => {
    const pruned = (n: number, ratio: number) =>
      n - total(keepAboveQuantile([Float32Array.from(range(n))], ratio, { scope: 'layer', atLeast: 0 }));
    expect(pruned(12, 0.333333333)).to.equal(4);
    expect(pruned(16, 0.333333333)).to.equal(5);
    expect(pruned(16, 1 / 3)).to.equal(6);
    for (const n of [1, 2, 3, 7, 64, 1000])
      for (const ratio of RATIOS) expect(pruned(n, ratio)).to.equal(Math.floor(ratio * (n - 1)) + 1);
  });

  it('keeps the best of random scores', () => {
    const random = new Random(3);
    for (let trial = 0; trial < 60; trial++) {
      const width = 1 + random.below(20);
      const scores = randomLayers(random, 3, width, trial % 2 ? 3 : undefined);
      for (const ratio of RATIOS)
        for (const scope of SCOPES)
          for (const atLeast of [0, 1, 8]) {
            const kept = keepAboveQuantile(scores, ratio, { scope, atLeast });
            for (const { length } of kept) expect(length).to.be.at.least(Math.min(atLeast, width));
            expectBest(scores, kept);
          }
    }
  });

  it('prunes everything that is tied, down to the floor', () => {
    for (const scope of SCOPES)
      for (const width of [1, 2, 16]) {
        const keep = (atLeast: number) => keepAboveQuantile(equalLayers(2, width), 0.5, { scope, atLeast });
        expect(keep(0)).to.deep.equal([[], []]);
        expect(keep(1)).to.deep.equal([[0], [0]]);
        expect(keep(8)).to.deep.equal([range(Math.min(8, width)), range(Math.min(8, width))]);
      }
  });

  it('has a threshold among NaN and infinities', () => {
    expect(quantile([NaN, 1, 2], 0.25)).to.equal(-Infinity);
    expect(quantile([1, Infinity], 0.5)).to.equal(1);
    expect(quantile([], 0.5)).to.be.NaN;
    const scores = [Float32Array.of(1, NaN, Infinity, 2)];
    expect(keepAboveQuantile(scores, 0.25, { scope: 'layer', atLeast: 0 })).to.deep.equal([[0, 2, 3]]);
    expect(keepAboveQuantile(scores, 0.75, { scope: 'layer', atLeast: 0 })).to.deep.equal([[2]]);
  });
});
