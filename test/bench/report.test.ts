import { expect } from 'chai';
import { flopsOf } from '../../scripts/bench/flops.ts';
import { sharesOf } from '../../scripts/bench/ops.ts';
import { quantile, regressions } from '../../scripts/bench/report.ts';
import { lengthsOf } from '../../scripts/bench/shapes.ts';
import { result } from './results.ts';

describe('the bench', () => {
  it('takes quantiles between its measurements', () => {
    expect(quantile([3, 1, 2], 0.5)).equal(2);
    expect(quantile([4, 1, 2, 3], 0.5)).equal(2.5);
    expect(quantile([1], 0.75)).equal(1);
  });

  it('calls slower what is slower beyond the noise of both runs, and nothing else', () => {
    const before = [result({})];
    expect(regressions([result({ medianSeconds: 1.04 })], before)).deep.equal([]);
    expect(regressions([result({ medianSeconds: 1.2 })], before)).lengthOf(1);
    expect(regressions([result({ medianSeconds: 1.2, spread: 0.3 })], before)).deep.equal([]);
    expect(regressions([result({ medianSeconds: 9, dropout: 0.1 })], before)).deep.equal([]);
  });

  it('counts the operations of a layer as written out by hand', () => {
    const shape = { hidden: 8, layers: 1, heads: 2, ffn: 16 };
    const layers = [{ heads: 2, neurons: 16, ranks: [0, 0, 0, 0, 0, 0] }];
    const linear = 2 * 10 * (4 * 8 * 8 + 2 * 8 * 16);
    const attention = 4 * (16 + 36) * 8;
    const how = { train: false, firstsOnly: false };
    expect(flopsOf(shape, layers, [4, 6], how)).equal(linear + attention);
    // Query alone has a module: its output's gradient needs all that comes after, and key and value give none.
    const some = [{ ...layers[0]!, ranks: [2, 0, 0, 0, 0, 0] }];
    const trained = flopsOf(shape, some, [4, 6], { train: true, firstsOnly: false });
    const backward = 2 * 10 * (8 * 8 + 2 * 8 * 16);
    expect(trained).equal(linear + backward + 3 * attention + 3 * 2 * 10 * 2 * 16);
  });

  it("counts of a decoder's attention what is seen, and of its last layer one query for each text", () => {
    const shape = { hidden: 8, layers: 2, heads: 2, ffn: 16, causal: true };
    const layer = { heads: 2, neurons: 16, ranks: [0, 0, 0, 0, 0, 0] };
    const how = { train: false, firstsOnly: true };
    const first = 2 * 10 * (4 * 8 * 8 + 2 * 8 * 16) + 4 * (10 + 21) * 8;
    const last = 2 * 10 * 2 * 8 * 8 + 2 * 2 * (2 * 8 * 8 + 2 * 8 * 16) + 4 * (4 + 6) * 8;
    expect(flopsOf(shape, [layer, layer], [4, 6], how)).equal(first + last);
    const whole = flopsOf({ ...shape, causal: false }, [layer], [4, 6], { ...how, firstsOnly: false });
    expect(whole).equal(first + 4 * (52 - 31) * 8);
  });

  it("says which of a device's peaks an op is bound by, and how near it comes", () => {
    const op = { op: 'a', rows: 1, in: 1, out: 1, atenSeconds: 1 };
    const peaks = { flops: 100, bytesPerSecond: 10 };
    expect(sharesOf({ ...op, seconds: 2, flops: 100, bytes: 5 }, peaks)).deep.equal({
      ...{ matrixShare: 0.5, memoryShare: 0.25, share: 0.5, limit: 'matrix' },
    });
    expect(sharesOf({ ...op, seconds: 2, flops: 0, bytes: 10 }, peaks)).deep.equal({
      ...{ matrixShare: 0, memoryShare: 0.5, share: 0.5, limit: 'memory' },
    });
  });

  it('draws the same lengths again', () => {
    const [first] = lengthsOf('sst2', 1000, 1);
    expect(first).deep.equal(lengthsOf('sst2', 1000, 1)[0]);
    const mean = first!.reduce((sum, n) => sum + n, 0) / 1000;
    expect(mean).within(13, 18);
  });
});
