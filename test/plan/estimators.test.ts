import { expect } from 'chai';
import { Random } from '../../lib/data/random.ts';
import type { Measures, WeightNorms } from '../../lib/native.ts';
import type { Estimate } from '../../lib/plan/estimate-file.ts';
import { type Estimator, type ModuleEstimator, scoresOf } from '../../lib/plan/estimators.ts';
import { randomLayers } from './arrays.ts';

const random = new Random(8);
const [LAYERS, HEADS, SIZE, FFN, MODULES, RANK] = [2, 3, 2, 5, 4, 2] as const;
const by = (width: number, count: number = LAYERS) => randomLayers(random, count, width);
const measures: Measures = {
  ...{ headTaylor: by(HEADS), neuronTaylor: by(FFN), headSalience: by(HEADS), neuronSalience: by(FFN) },
  ...{ contextMean: by(HEADS * SIZE), contextSquare: by(HEADS * SIZE).map((v) => v.map((x) => x + 1)) },
  ...{ neuronMean: by(FFN), neuronSquare: by(FFN).map((v) => v.map((x) => x + 1)) },
  ...{ ratios: by(1, MODULES), ranks: by(RANK, MODULES), rankTaylor: by(RANK, MODULES) },
};
const norms: WeightNorms = {
  ...{ context: by(HEADS * SIZE), neuronOut: by(FFN), heads: by(HEADS), neurons: by(FFN) },
};
const masks = {
  heads: by(HEADS).map((v) => v.map((x) => x - 0.5)),
  neurons: by(FFN).map((v) => v.map((x) => x - 0.5)),
};
const estimate: Estimate = {
  ...{
    fingerprint: 'base',
    tokenizer: 't',
    steps: 3,
    estimator: 'l1',
    moduleEstimator: 'ratio',
    masks,
    measures,
  },
  modules: ['a', 'b', 'c', 'd'].map((name, layer) => ({ name, layer, site: 'query' as const })),
};
const score = (units: Estimator, modules: ModuleEstimator = 'ratio', seed = 1) =>
  scoresOf(estimate, { units, modules, seed }, norms);

describe('estimators', () => {
  it('take what they are named after', () => {
    expect(score('l1').heads).deep.equal(masks.heads);
    expect(score('l1-absolute').neurons[1]![0]).equal(Math.abs(masks.neurons[1]![0]!));
    expect(score('taylor').neurons).deep.equal(measures.neuronTaylor);
    expect(score('activation-gradient').heads).deep.equal(measures.headSalience);
    expect(score('magnitude').heads).deep.equal(norms.heads);
  });

  it('wanda: the norm of a column times that of what it reads', () => {
    const { heads, neurons } = score('wanda');
    const neuron = norms.neuronOut[1]![2]! * Math.sqrt(measures.neuronSquare[1]![2]!);
    expect(neurons[1]![2]).closeTo(neuron, 1e-6);
    const head = [2, 3].map((c) => norms.context[0]![c]! ** 2 * measures.contextSquare[0]![c]!);
    expect(heads[0]![1]).closeTo(Math.sqrt(head[0]! + head[1]!), 1e-6);
  });

  it('fluctuation: the same with the variance, standardised by layer', () => {
    const { neurons } = score('fluctuation');
    const raw = Array.from(
      norms.neuronOut[0]!,
      (n, i) => n * Math.sqrt(measures.neuronSquare[0]![i]! - measures.neuronMean[0]![i]! ** 2),
    );
    const mean = raw.reduce((sum, x) => sum + x, 0) / FFN;
    const deviation = Math.sqrt(raw.reduce((sum, x) => sum + (x - mean) ** 2, 0) / FFN);
    for (const [i, x] of raw.entries()) expect(neurons[0]![i]).closeTo((x - mean) / deviation, 1e-5);
  });

  it('random: the same for a seed, another for another', () => {
    expect(score('random', 'random', 5)).deep.equal(score('random', 'random', 5));
    expect(score('random', 'random', 5).heads).not.deep.equal(score('random', 'random', 6).heads);
  });

  it('of modules: the ratio, or the sum of what the ranks are worth', () => {
    expect(score('taylor', 'ratio').modules[2]).deep.equal({
      ...{ name: 'c', layer: 2, site: 'query', ratio: measures.ratios[2]![0], ranks: measures.ranks[2] },
    });
    const [a, b] = measures.rankTaylor[3]!;
    expect(score('taylor', 'taylor').modules[3]!.ratio).closeTo(a! + b!, 1e-6);
  });

  it('trained masks are not read where none were trained', () => {
    const untrained = { ...estimate, estimator: 'taylor' as const };
    const refused = () => scoresOf(untrained, { units: 'l1', modules: 'ratio', seed: 1 }, norms);
    expect(refused).throw(/reads trained masks; the estimation was run for taylor/);
    const unmeasured = { ...estimate, moduleEstimator: 'taylor' as const };
    const ratioless = () => scoresOf(unmeasured, { units: 'l1', modules: 'ratio', seed: 1 }, norms);
    expect(ratioless).throw(/ratio is measured where estimate, too/);
  });
});
