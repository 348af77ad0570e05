import { readFileSync } from 'node:fs';
import { expect } from 'chai';
import { computeMetrics, type MetricName } from '../../lib/metrics.ts';
import { failure } from './files.ts';

interface Truth {
  cases: { name: string; labels: number[]; predictions: number[]; values: Record<string, number> }[];
}
const NAMES: Record<string, MetricName> = {
  accuracy: 'accuracy',
  binary_f1: 'f1',
  macro_f1: 'macro_f1',
  matthews: 'matthews_correlation',
  pearson: 'pearson',
  spearman: 'spearmanr',
};
const truth = JSON.parse(
  readFileSync(new URL('../fixtures/metrics/truth.json', import.meta.url), 'utf8'),
) as Truth;

describe('metrics', () => {
  const only = (name: MetricName, predictions: number[], labels: number[]) =>
    computeMetrics([name], predictions, labels)[name];

  for (const { name, labels, predictions, values } of truth.cases)
    it(`are those of scikit-learn and SciPy: ${name}`, () => {
      const names = Object.keys(values).map((key) => NAMES[key]!);
      const computed = computeMetrics(names, predictions, labels);
      expect(Object.keys(computed)).to.deep.equal(names);
      for (const [key, value] of Object.entries(values))
        expect(computed[NAMES[key]!], key).to.be.closeTo(value, 1e-12);
    });

  it('take typed arrays, in which a batch holds them', () => {
    const computed = computeMetrics(
      ['accuracy', 'pearson'],
      Float32Array.of(0, 1, 1),
      Int32Array.of(0, 1, 0),
    );
    expect(computed['accuracy']).to.be.closeTo(2 / 3, 1e-15);
    expect(computed['pearson']).to.be.closeTo(0.5, 1e-15);
  });

  it('are NaN, and null in JSON, where a correlation is not defined', () => {
    for (const name of ['pearson', 'spearmanr'] as const) {
      // 0.1 has no exact mean, so that the deviations from it are not 0.
      expect(only(name, [0.1, 0.1, 0.1], [1, 2, 3])).to.be.NaN;
      expect(only(name, [1, 2, 3], [4, 4, 4])).to.be.NaN;
      expect(only(name, [1], [2])).to.be.NaN;
      expect(only(name, [], [])).to.be.NaN;
      expect(only(name, [1, NaN, 3], [1, 2, 3])).to.be.NaN;
    }
    expect(JSON.stringify(computeMetrics(['pearson'], [1, 1], [1, 2]))).to.equal('{"pearson":null}');
    expect(only('spearmanr', [1, Infinity, 3, -Infinity], [2, 4, 3, 1])).to.be.closeTo(1, 1e-12);
  });

  it('leave a class out of the mean that is neither predicted nor meant', () => {
    expect(only('macro_f1', [0, 2, 0], [0, 2, 2])).to.be.closeTo(2 / 3, 1e-15);
  });

  it('are 0 where scikit-learn says so', () => {
    expect(only('matthews_correlation', [1, 1], [1, 1])).to.equal(0);
    expect(only('f1', [0, 0], [0, 0])).to.equal(0);
  });

  it('hold no correlation beyond 1', () => {
    // Which plain rounding would give for these.
    const values = Array.from({ length: 7 }, (_, i) => i * i * 0.1 + i);
    expect(only('pearson', values, values)).to.equal(1);
  });

  it('are not asked of what they are not for', async () => {
    expect(await failure(() => only('f1', [0, 2], [0, 1]))).to.match(/^BAD_OPTION f1 is for two classes/);
    expect(await failure(() => only('accuracy', [0], [0, 1]))).to.match(/^INTERNAL/);
    expect(await failure(() => only('accuracy', [0, 1], [0, NaN]))).to.match(/^INTERNAL/);
  });
});
