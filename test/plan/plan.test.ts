import { expect } from 'chai';
import { Random } from '../../lib/data/random.ts';
import { LightPeftError } from '../../lib/errors.ts';
import { emptyPlan, makePlan, parsePlan, type PlanOptions } from '../../lib/plan/plan.ts';
import type { Scores } from '../../lib/plan/scores.ts';
import { equalLayers, randomLayers, range, total } from './arrays.ts';

const failure = (work: () => unknown): LightPeftError => {
  try {
    work();
  } catch (error) {
    if (error instanceof LightPeftError) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
};

const scoresOf = (heads: Float32Array[], neurons: Float32Array[], ranks: Float32Array[]): Scores => ({
  fingerprint: 'base-1',
  steps: 10,
  together: true,
  heads,
  neurons,
  modules: ranks.map((ranks, i) => ({
    ...{ name: `module.${i}`, layer: i % heads.length, site: 'query' as const },
    ...{ ratio: i, ranks },
  })),
});

const BASE = { fingerprint: 'base-1', layers: 3, heads: 12, ffn: 60 };
const usual = () => {
  const random = new Random(4);
  return scoresOf(randomLayers(random, 3, 12), randomLayers(random, 3, 60), randomLayers(random, 18, 8));
};

describe('makePlan', () => {
  it('prunes the default shares', () => {
    const plan = makePlan(usual());
    expect(plan).to.include({ version: 1, fingerprint: 'base-1', rule: 'exact' });
    expect(plan.ratios).to.deep.equal({ heads: 1 / 3, neurons: 1 / 3, modules: 0.75, ranks: 0.5 });
    expect(plan.scopes).to.deep.equal({ heads: 'layer', neurons: 'global', ranks: 'global' });
    expect(plan.layers.map(({ heads }) => heads.length)).to.deep.equal([8, 8, 8]);
    expect(total(plan.layers.map(({ neurons }) => neurons))).to.equal(120);
    // round(0.75 * 18) = 14 modules go; of the ranks of the best four, half.
    expect(plan.modules.map(({ name }) => name)).to.deep.equal(range(4).map((i) => `module.${14 + i}`));
    expect(total(plan.modules.map(({ ranks }) => ranks))).to.equal(16);
  });

  it('selects by quantile, of each layer or in all', () => {
    const plan = makePlan(usual(), { rule: 'quantile', scopes: { neurons: 'layer', ranks: 'layer' } });
    for (const { heads, neurons } of plan.layers) {
      expect(heads).to.have.lengthOf(8);
      expect(neurons).to.have.lengthOf(40);
    }
    expect(plan.modules).to.have.lengthOf(5); // floor(0.75 * 17) + 1 = 13 go
    for (const { ranks } of plan.modules) expect(ranks).to.have.lengthOf(4);
  });

  it('drops halves of layers where it may, their modules with them, and says what could be met', () => {
    const scores = usual();
    scores.heads[1]!.fill(0);
    scores.neurons[2]!.fill(0);
    const costs = range(3).map(() => ({ head: 5, neuron: 1, rest: 0 }));
    const cut = (keep: number, least: Partial<PlanOptions>) =>
      makePlan(scores, { budget: { of: 'parameters', keep, costs }, ...least });
    const { layers, modules } = cut(0.5, { minHeads: 0, minNeurons: 0 });
    expect([layers[1]!.heads, layers[2]!.neurons]).to.deep.equal([[], []]);
    expect(modules.every(({ name }) => Number(name.split('.')[1]) % 3 !== 1)).to.be.true;
    expect(failure(() => cut(0.05, {}))).to.include({
      code: 'BAD_OPTION',
      message: 'the budget of 5.0 % cannot be met: what must stay takes 10.8 %',
    });
    scores.heads.forEach((heads) => heads.fill(0));
    expect(failure(() => cut(0.3, { minHeads: 0 })))
      .to.include({ code: 'BAD_OPTION' })
      .property('message')
      .match(/nothing to train/);
  });

  it('drops a surviving module that lost all its ranks', () => {
    const scores = scoresOf(equalLayers(1, 2), equalLayers(1, 8), [
      Float32Array.of(1, 2),
      Float32Array.of(3, 4),
    ]);
    const plan = makePlan(scores, { ratios: { modules: 0 } });
    expect(plan.modules).to.deep.equal([{ name: 'module.1', ranks: [0, 1] }]);
  });

  it('keeps the best rank where all would go', () => {
    const ranks = [Float32Array.of(2), Float32Array.of(5), Float32Array.of(3)];
    for (const rule of ['exact', 'quantile'] as const) {
      const scores = scoresOf(equalLayers(1, 1), equalLayers(1, 1), ranks);
      const plan = makePlan(scores, { rule, ratios: { modules: 0, ranks: 0.9 }, scopes: { ranks: 'layer' } });
      expect(plan.modules).to.deep.equal([{ name: 'module.1', ranks: [0] }]);
    }
  });

  it('never leaves a layer without heads or neurons, nor an adapter without a rank', () => {
    const random = new Random(5);
    for (let trial = 0; trial < 200; trial++) {
      const layers = 1 + random.below(4);
      const heads = 1 + random.below(4);
      const ffn = 1 + random.below(20);
      const arrays = (count: number, width: number) =>
        trial % 3 ? randomLayers(random, count, width, trial % 2 ? 2 : undefined) : equalLayers(count, width);
      const count = 1 + random.below(4);
      const rank = 1 + random.below(4);
      const scores = scoresOf(arrays(layers, heads), arrays(layers, ffn), arrays(count, rank));
      if (trial % 5 === 0) for (const module of scores.modules) module.ranks.fill(NaN);
      const scope = () => (random.below(2) ? 'layer' : 'global');
      const ratio = () => random.below(1000) / 1000;
      const options: PlanOptions = {
        rule: random.below(2) ? 'exact' : 'quantile',
        ratios: { heads: ratio(), neurons: ratio(), modules: ratio(), ranks: ratio() },
        scopes: { heads: scope(), neurons: scope(), ranks: scope() },
      };
      const plan = makePlan(scores, options);
      for (const layer of plan.layers) {
        expect(layer.heads).to.not.be.empty;
        expect(layer.neurons).to.have.length.of.at.least(Math.min(8, ffn));
      }
      expect(plan.modules).to.not.be.empty;
      const json: unknown = JSON.parse(JSON.stringify(plan));
      expect(parsePlan(json, { fingerprint: 'base-1', layers, heads, ffn })).to.deep.equal(plan);
    }
  });

  it('keeps the ranks that are worth most for their parameters', () => {
    const scores = scoresOf(equalLayers(1, 4), equalLayers(1, 64), [
      Float32Array.of(5, 1),
      Float32Array.of(4, 4),
    ]);
    scores.modules[1]!.site = 'intermediate';
    const peft = { keep: 0.5, sizes: { hidden: 16, headSize: 4 } };
    const keepAll = { ratios: { heads: 0, neurons: 0 } };
    // Ranks of the query cost 32, those of the FFN 80: worth 5/32, 1/32 and 4/80 for what they cost; 112 may stay.
    expect(makePlan(scores, { ...keepAll, peft }).modules).to.deep.equal([
      { name: 'module.0', ranks: [0] },
      { name: 'module.1', ranks: [0] },
    ]);
    const [only] = makePlan(scores, { ...keepAll, peft: { ...peft, keep: 0.01 } }).modules;
    expect(only).to.deep.equal({ name: 'module.0', ranks: [0] });
    // What the base loses, its modules lose: a rank of the query costs 20 beside one head.
    const narrow = { ratios: { heads: 0.75, neurons: 0 }, peft: { ...peft, keep: 0.45 } };
    expect(makePlan(scores, narrow).modules[0]!.ranks).to.deep.equal([0, 1]);
  });

  it('keeps ranks by so many of a module, and of the first no more than there is room for', () => {
    const scores = scoresOf(equalLayers(1, 4), equalLayers(1, 64), [
      Float32Array.of(9, 1, 1, 2),
      Float32Array.of(4, 5, NaN, 0),
      Float32Array.of(3, 3, 3, NaN),
    ]);
    const peft = (keep: number) => ({ keep, sizes: { hidden: 16, headSize: 4 }, roundTo: 2 });
    const kept = (keep: number) =>
      makePlan(scores, { ratios: { heads: 0, neurons: 0 }, peft: peft(keep) }).modules.map(
        ({ ranks }) => ranks,
      );
    // Two by two these are worth 11, 9, 6, 3 (with one that has no score), 2 and 0, of all twelve.
    expect(kept(4 / 12)).to.deep.equal([
      [0, 3],
      [0, 1],
    ]);
    // The sixth has no room for two, and one at most by itself.
    expect(kept(5 / 12)).to.deep.equal(kept(4 / 12));
    expect(kept(0.01)).to.deep.equal([[0]]);
    expect(kept(1)).to.deep.equal([range(4), range(4), range(4)]);
  });

  it('takes the modules from the lowest layers while these are worth little', () => {
    const ranks = range(4).map(() => Float32Array.of(1, 1));
    const scores = scoresOf(equalLayers(4, 4), equalLayers(4, 8), ranks);
    for (const [i, ratio] of [1, 2, 10, 7].entries()) scores.modules[i]!.ratio = ratio;
    const names = (depth: number) =>
      makePlan(scores, { depth, ratios: { modules: 0, ranks: 0 } }).modules.map(({ name }) => name);
    expect(names(0)).to.have.lengthOf(4);
    expect(names(0.1)).to.deep.equal(['module.1', 'module.2', 'module.3']);
    expect(names(0.2)).to.deep.equal(['module.2', 'module.3']);
    expect(names(0.99)).to.deep.equal(['module.3']);
  });

  it('refuses ratios outside [0, 1) and unknown options', () => {
    for (const ratio of [-0.1, 1, 2, NaN, Infinity])
      for (const name of ['heads', 'neurons', 'modules', 'ranks']) {
        const error = failure(() => makePlan(usual(), { ratios: { [name]: ratio } }));
        expect(error.code).to.equal('BAD_OPTION');
        expect(error.message).to.include(`ratios.${name}`);
      }
    for (const options of [{ rule: 'best' }, { scopes: { heads: 'all' } }, { ratio: 0.5 }])
      expect(failure(() => makePlan(usual(), options as PlanOptions)).code).to.equal('BAD_OPTION');
  });

  it('refuses scores that it cannot decide by', () => {
    const layer = equalLayers(1, 8);
    for (const scores of [
      scoresOf([], [], layer),
      scoresOf(layer, equalLayers(2, 8), layer),
      scoresOf(layer, layer, []),
      scoresOf(layer, layer, [new Float32Array()]),
    ])
      expect(failure(() => makePlan(scores)).code).to.equal('BAD_SCORES');
  });
});

describe('the empty plan', () => {
  it('keeps everything, as ratios of 0 do under either rule', () => {
    const modules = range(18).map((i) => ({ name: `module.${i}`, rank: 8 }));
    const empty = emptyPlan(BASE, modules);
    expect(empty.layers[2]).to.deep.equal({ heads: range(12), neurons: range(60) });
    expect(parsePlan(empty, BASE)).to.deep.equal(empty);
    for (const rule of ['exact', 'quantile'] as const) {
      const made = makePlan(usual(), { rule, ratios: { heads: 0, neurons: 0, modules: 0, ranks: 0 } });
      expect(made).to.deep.equal({ ...empty, rule });
    }
  });
});

describe('parsePlan', () => {
  const good = () => makePlan(usual());
  const refusal = (json: unknown, base?: typeof BASE): string => {
    const error = failure(() => parsePlan(json, base));
    expect(error.code).to.equal('BAD_PLAN');
    expect(error.message).to.not.include('\n');
    return error.message;
  };

  it('refuses what is not a plan', () => {
    for (const json of [null, undefined, [], 'plan', 3, {}]) refusal(json);
    expect(refusal({ ...good(), version: 2 })).to.include('version');
    expect(refusal({ ...good(), extra: 1 })).to.include('extra');
    expect(refusal({ ...good(), rule: 'best' })).to.include('rule');
    expect(refusal({ ...good(), ratios: { ...good().ratios, heads: 1 } })).to.include('ratios.heads');
    expect(refusal({ ...good(), scopes: { heads: 'layer' } })).to.include('scopes.');
    expect(refusal({ ...good(), layers: [] })).to.include('layers');
    expect(refusal({ ...good(), modules: [] })).to.include('modules');
  });

  it('refuses indices that are unsorted, repeated, negative or broken, and a module of none', () => {
    for (const heads of [[1, 0], [0, 0], [-1, 0], [0.5], ['0'], [null]]) {
      const plan = good();
      expect(
        refusal({ ...plan, layers: [plan.layers[0], { heads, neurons: [0] }, plan.layers[2]] }),
      ).to.include('layers.1.heads');
      expect(refusal({ ...plan, modules: [{ name: 'a', ranks: heads }] })).to.include('modules.0.ranks');
    }
    expect(refusal({ ...good(), modules: [{ name: 'a', ranks: [] }] })).to.include('modules.0.ranks');
    const module = { name: 'a', ranks: [0] };
    expect(refusal({ ...good(), modules: [module, module] })).to.include('twice');
  });

  it('refuses a plan for another base', () => {
    expect(refusal(good(), { ...BASE, fingerprint: 'base-2' })).to.include('made for another base');
    expect(refusal(good(), { ...BASE, layers: 4 })).to.include('3 layers');
  });

  it('refuses indices beyond the base', () => {
    const plan = good();
    plan.layers[1]!.heads = [0, 12];
    expect(refusal(plan, BASE)).to.include('layers.1.heads: there is no head 12 among 12');
    plan.layers[1] = { heads: [0], neurons: [59, 60] };
    expect(refusal(plan, BASE)).to.include('layers.1.neurons: there is no neuron 60 among 60');
    expect(parsePlan(plan)).to.deep.equal(plan);
  });
});
