import { createHash } from 'node:crypto';
import { expect } from 'chai';
import { BatchSampler, epochOrder, inBatches, packBatch, type SamplerState } from '../../lib/data/batches.ts';
import { Random } from '../../lib/data/random.ts';
import { failure } from './files.ts';

// The expected numbers were computed by a second implementation, in Python's big integers.
describe('random numbers', () => {
  it('are those of xoshiro128** from the same seed', () => {
    const one = new Random(1);
    expect([1, 2, 3, 4].map(() => one.next())).to.deep.equal([1823784700, 509087362, 3424426819, 744326071]);
  });

  it('are drawn below a bound by rejection', () => {
    const seven = new Random(7);
    expect([1, 2, 3, 4, 5, 6].map(() => seven.below(3 * 2 ** 30))).to.deep.equal([
      2073222524, 2120928370, 3046272183, 1929651445, 613705393, 2235829090,
    ]);
    expect(seven.below(1)).to.equal(0);
  });
});

describe('the order of an epoch', () => {
  it('is the same everywhere', () => {
    expect([...epochOrder(10, 42, 0)]).to.deep.equal([5, 6, 9, 1, 7, 0, 4, 2, 3, 8]);
    expect([...epochOrder(10, 42, 1)]).to.deep.equal([4, 3, 0, 1, 6, 8, 7, 9, 5, 2]);
    expect([...epochOrder(10, -1, 0)]).to.deep.equal([5, 2, 4, 0, 8, 9, 7, 6, 1, 3]);
    expect([...epochOrder(10, Number.MAX_SAFE_INTEGER, 3)]).to.deep.equal([7, 6, 3, 9, 8, 2, 1, 0, 5, 4]);
    const large = createHash('sha256').update(epochOrder(10007, 2 ** 40 + 5, 9));
    expect(large.digest('hex')).to.equal('cf6d7057f303064d925bea56013b756ef0bec650b46d40a8dc4e520b6471faf7');
  });

  it('has every example once', () => {
    for (const n of [0, 1, 2, 1000])
      expect([...epochOrder(n, 3, 5)].sort((a, b) => a - b)).to.deep.equal([...Array(n).keys()]);
  });

  it('is any permutation, about as often', () => {
    const counts = new Map<string, number>();
    for (let seed = 0; seed < 6000; seed++) {
      const order = epochOrder(4, seed, 0).join('');
      counts.set(order, (counts.get(order) ?? 0) + 1);
    }
    // Chi-squared with 23 degrees of freedom is above 50 once in a thousand.
    const surprise = [...counts.values()].reduce((sum, count) => sum + (count - 250) ** 2 / 250, 0);
    expect(counts.size).to.equal(24);
    expect(surprise).to.be.below(50);
  });
});

describe('a batch sampler', () => {
  const start: SamplerState = { epoch: 0, position: 0 };

  it('takes an epoch in batches, of which the last may be small', () => {
    const sampler = new BatchSampler(10, 4, 42);
    const batches = [...sampler.epoch(start)];
    expect(sampler.batchesPerEpoch).to.equal(3);
    expect(batches.map(({ indices }) => [...indices])).to.deep.equal([
      [5, 6, 9, 1],
      [7, 0, 4, 2],
      [3, 8],
    ]);
    expect(batches.map(({ next }) => next)).to.deep.equal([
      { epoch: 0, position: 4 },
      { epoch: 0, position: 8 },
      { epoch: 1, position: 0 },
    ]);
  });

  it('goes on after any batch as if it had not stopped', () => {
    const sampler = new BatchSampler(23, 5, 8);
    const whole: number[][] = [];
    for (let epoch = 0; epoch < 3; epoch++)
      for (const { indices } of sampler.epoch({ epoch, position: 0 })) whole.push([...indices]);
    const stopped: number[][] = [];
    let state = start;
    while (state.epoch < 3) {
      // One batch, then a new process.
      for (const { indices, next } of new BatchSampler(23, 5, 8).epoch(state)) {
        stopped.push([...indices]);
        state = next;
        break;
      }
    }
    expect(stopped).to.deep.equal(whole);
  });

  it('divides evenly where the sizes do', () => {
    const sampler = new BatchSampler(8, 4, 0);
    expect([...sampler.epoch(start)].map(({ indices }) => indices.length)).to.deep.equal([4, 4]);
    expect(sampler.batchesPerEpoch).to.equal(2);
  });

  it('refuses what cannot be', async () => {
    for (const size of [0, -1, 1.5, NaN])
      expect(await failure(() => new BatchSampler(5, size, 0))).to.match(/^BAD_OPTION the batch size/);
    expect(await failure(() => new BatchSampler(5, 1, 0.5))).to.match(/^BAD_OPTION the seed/);
    const sampler = new BatchSampler(5, 2, 0);
    for (const [epoch, position] of [
      [0, 6],
      [0, -1],
      [-1, 0],
      [0, 0.5],
    ] as const)
      expect(await failure(() => [...sampler.epoch({ epoch, position })])).to.match(/^BAD_STATE/);
  });

  it('is not needed where the order is kept', () => {
    const batches = [...inBatches(Uint32Array.of(0, 1, 2, 3, 4), 2)];
    expect(batches.map((batch) => [...batch])).to.deep.equal([[0, 1], [2, 3], [4]]);
  });
});

describe('a packed batch', () => {
  const item = (ids: number[], typeIds: number[], idx: number, label: number) => ({
    ids: Int32Array.from(ids),
    typeIds: Int32Array.from(typeIds),
    truncated: false,
    idx,
    label,
  });

  it('lays sequences end to end', () => {
    const batch = packBatch([
      item([7, 8], [0, 1], 4, 1),
      item([9], [0], 2, 0.5),
      item([1, 2, 3], [0, 0, 1], 0, NaN),
    ]);
    expect(batch).to.deep.equal({
      ids: Int32Array.of(7, 8, 9, 1, 2, 3),
      typeIds: Int32Array.of(0, 1, 0, 0, 0, 1),
      cuSeqlens: Int32Array.of(0, 2, 3, 6),
      labels: Float32Array.of(1, 0.5, NaN),
      idx: Int32Array.of(4, 2, 0),
      maxLength: 3,
    });
  });

  it('may be empty', () => {
    const { ids, cuSeqlens, maxLength } = packBatch([]);
    expect([ids.length, [...cuSeqlens], maxLength]).to.deep.equal([0, [0], 0]);
  });
});
