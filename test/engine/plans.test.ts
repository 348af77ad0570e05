import { expect } from 'chai';
import { compensation } from '../../lib/adapter/compensation.ts';
import { cutAdapter, mergeAdapter } from '../../lib/adapter/cut.ts';
import { type BaseDelta, corrections, foldedMasks, layerCuts } from '../../lib/adapter/delta.ts';
import { Model, Session } from '../../lib/engine.ts';
import type { ComputeDtype, Correction, LayerCut, NamedTensor } from '../../lib/native.ts';
import { operationCosts, parameterCosts } from '../../lib/plan/costs.ts';
import type { Estimate } from '../../lib/plan/estimate-file.ts';
import {
  type Estimator,
  ESTIMATOR_NAMES,
  MODULE_ESTIMATORS,
  scoresOf,
  trainsMasks,
} from '../../lib/plan/estimators.ts';
import { makePlan, type Plan, type PlanOptions } from '../../lib/plan/plan.ts';
import { type Case, DECODERS, distance, ENCODERS, loadCase, rms } from './truth.ts';

const range = (n: number) => Array.from({ length: n }, (_, i) => i);
const byName = (tensors: NamedTensor[]) => new Map(tensors.map((tensor) => [tensor.name, tensor]));
const isMask = ({ name }: { name: string }) => name.startsWith('masks.');

/** What a short masked run leaves. */
async function estimated(recorded: Case, model: Model, estimator: Estimator) {
  const learns = Number(trainsMasks(estimator));
  using session = await recorded.session(model, {
    ...{ masks: true, headMaskRate: learns, neuronMaskRate: learns, l1Heads: 0.01, l1Neurons: 0.01 },
  });
  for (let step = 0; step < 3; step++) await session.step([recorded.batch()], 0.01, { score: true });
  const { steps, heads, neurons, measures } = await session.scores();
  const estimate: Estimate = {
    ...{
      fingerprint: 'f',
      tokenizer: 't',
      steps,
      estimator,
      moduleEstimator: 'ratio',
      masks: { heads, neurons },
      measures,
    },
    modules: session.modules.map(({ name, layer, site }) => ({ name, layer, site })),
  };
  return { estimate, adapter: byName((await session.tensors()).filter((tensor) => !isMask(tensor))) };
}

/** A correction of what a cut keeps as one of the whole weight: nothing for the columns that are gone. */
function widened(
  correction: Correction | undefined,
  kept: readonly number[],
  all: number,
  scales?: Float32Array,
): Correction | undefined {
  if (!correction) return undefined;
  const each = correction.a.length / correction.rank / kept.length;
  const a = new Float32Array(correction.rank * all * each);
  for (let k = 0; k < correction.rank; k++)
    for (const [i, unit] of kept.entries())
      for (let c = 0; c < each; c++)
        // The mask beside it multiplies this, too.
        a[(k * all + unit) * each + c] = correction.a[(k * kept.length + i) * each + c]! / (scales?.[i] ?? 1);
  return { ...correction, a };
}

/** The whole base with a plan's shifts and corrections alone; what is cut from it is masked. */
const changesOnly = ({ layers, heads, ffn }: Model['checkpoint']['spec'], cuts: LayerCut[]): LayerCut[] =>
  range(layers).map((l) => {
    const cut = cuts[l]!;
    return {
      ...{ heads: range(heads), neurons: range(ffn) },
      ...{ attentionShift: cut.attentionShift, outputShift: cut.outputShift },
      attentionCorrection: widened(cut.attentionCorrection, cut.heads, heads, cut.headScale),
      outputCorrection: widened(cut.outputCorrection, cut.neurons, ffn, cut.neuronScale),
    };
  });

/** Masks that do what a plan and the scales of a delta do. */
const masksOf = (
  { heads, ffn }: Model['checkpoint']['spec'],
  plan: Plan,
  delta: BaseDelta | null,
): Pick<NamedTensor, 'name' | 'data'>[] =>
  plan.layers.flatMap((kept, l) => {
    const mask = (n: number, indices: number[], scales?: Float32Array) => {
      const data = new Float32Array(n);
      indices.forEach((index, i) => (data[index] = scales?.[i] ?? 1));
      return data;
    };
    return [
      { name: `masks.${l}.heads`, data: mask(heads, kept.heads, delta?.get(`layers.${l}.head_scale`)?.data) },
      {
        name: `masks.${l}.neurons`,
        data: mask(ffn, kept.neurons, delta?.get(`layers.${l}.neuron_scale`)?.data),
      },
    ];
  });

/** The session over what a plan and a delta leave of a model, with what it leaves of an adapter. */
async function cutSession(
  recorded: Case,
  small: Model,
  plan: Plan,
  adapter: ReadonlyMap<string, NamedTensor>,
  delta: BaseDelta | null,
): Promise<Session> {
  const modules = recorded.modules(small);
  const siteOf = (name: string) => modules.find((module) => module.name === name);
  const left = plan.modules.map(({ name, ranks }) => ({ ...siteOf(name)!, rank: ranks.length }));
  const session = new Session(small, { ...recorded.sessionConfig(small), modules: left }, { threads: 2 });
  await session.setTensors(cutAdapter(adapter, plan, recorded.checkpoint.spec, siteOf, delta));
  return session;
}

/** What least squares over the recorded batch give back of a cut; the whole model is masked as it has learned to be. */
async function reconstructed(
  recorded: Case,
  model: Model,
  plan: Plan,
  adapter: ReadonlyMap<string, NamedTensor>,
  delta: BaseDelta,
  masks?: Estimate['masks'],
): Promise<BaseDelta> {
  using small = await model.cut(layerCuts(plan, delta), { threads: 2 });
  using light = await cutSession(recorded, small, plan, adapter, delta);
  using whole = await recorded.session(model, { masks: masks !== undefined });
  await whole.setTensors([...adapter.values()]);
  for (const kind of ['heads', 'neurons'] as const)
    await whole.setTensors(masks?.[kind].map((data, l) => ({ name: `masks.${l}.${kind}`, data })) ?? []);
  return corrections(await whole.reconstruct(light, [recorded.batch()], 3));
}

/** Logits of the smaller model, and of the whole one with masks at zero and removed ranks at zero. */
async function both(
  recorded: Case,
  model: Model,
  plan: Plan,
  adapter: ReadonlyMap<string, NamedTensor>,
  delta: BaseDelta | null,
) {
  const { spec } = recorded.checkpoint;
  const modules = recorded.modules(model);
  const siteOf = (name: string) => modules.find((module) => module.name === name);
  const cuts = layerCuts(plan, delta);
  using small = await model.cut(cuts, { threads: 2 });
  using session = await cutSession(recorded, small, plan, adapter, delta);
  using shifted = await model.cut(changesOnly(spec, cuts), { threads: 2 });
  using masked = await recorded.session(shifted, { masks: true });
  const zeros = new Map(
    [...adapter].map(([name, tensor]) => [name, { ...tensor, data: new Float32Array(tensor.data.length) }]),
  );
  const kept = cutAdapter(adapter, plan, spec, siteOf);
  await masked.setTensors(mergeAdapter(zeros, kept, plan, spec, siteOf));
  await masked.setTensors(masksOf(spec, plan, delta));
  const of = async (one: Session) => (await one.evaluate(recorded.batch())).logits;
  return { smaller: await of(session), masked: await of(masked) };
}

for (const name of ['roberta-tiny', ...ENCODERS, ...DECODERS])
  describe(`${name}: whatever a plan is made by, the smaller model is the masked one`, () => {
    let recorded: Case;
    let model: Model;
    before(async () => {
      ({ recorded, model } = await loadCase(name));
    });
    after(() => model.dispose());

    const cuts = (): Record<string, PlanOptions> => {
      const { spec } = recorded.checkpoint;
      const { hidden, headSize, group } = spec;
      const sizes = { hidden, headSize, group };
      const budget = (of: 'parameters' | 'flops', keep: number, roundTo: number) => ({
        budget: { of, keep, costs: of === 'flops' ? operationCosts(spec, [9, 4]) : parameterCosts(spec) },
        roundTo,
      });
      return {
        'ratios by layer': { scopes: { heads: 'layer', neurons: 'layer' } },
        'ratios of all, in widths that products like': { scopes: { neurons: 'global' }, roundTo: 8 },
        'ratios of all, quantile': { rule: 'quantile', scopes: { heads: 'global', neurons: 'global' } },
        'a target of parameters': { ...budget('parameters', 0.6, 4), peft: { keep: 0.3, sizes } },
        'a target of operations, a layer protected': {
          ...{ ...budget('flops', 0.8, 1), peft: { keep: 0.5, sizes }, protect: [1] },
        },
        'whole halves of layers': { ...budget('parameters', 0.3, 8), minHeads: 0, minNeurons: 0 },
        depth: { ...budget('parameters', 0.6, 4), peft: { keep: 0.5, sizes }, depth: 0.5 },
      };
    };

    // Where scores come from does not depend on the family.
    const estimators = name.startsWith('roberta') ? ESTIMATOR_NAMES : (['taylor'] as const);
    for (const estimator of estimators)
      it(`by ${estimator}`, async () => {
        const { estimate, adapter } = await estimated(recorded, model, estimator);
        const norms = await model.norms();
        for (const [cut, options] of Object.entries(cuts()))
          for (const modules of MODULE_ESTIMATORS) {
            const plan = makePlan(scoresOf(estimate, { units: estimator, modules, seed: 4 }, norms), options);
            const { smaller, masked } = await both(recorded, model, plan, adapter, null);
            expect(distance(smaller, masked), `${cut}, modules by ${modules}`).below(1e-5);
          }
      });

    for (const [title, fold, compensate] of [
      ['masks folded', true, 'none'],
      ['means in the biases', false, 'mean'],
      ['least squares', false, 'least squares'],
      ['masks folded and means', true, 'mean'],
      ['masks folded and least squares', true, 'least squares'],
    ] as const)
      it(`with ${title}`, async () => {
        const { estimate, adapter } = await estimated(recorded, model, 'l1');
        const scores = scoresOf(estimate, { units: 'l1', modules: 'taylor', seed: 4 }, await model.norms());
        for (const [cut, options] of Object.entries(cuts())) {
          const plan = makePlan(scores, options);
          const bench = { model, modules: () => recorded.modules(model) };
          const folded: BaseDelta = fold ? foldedMasks(plan, estimate.masks) : new Map();
          const found =
            compensate === 'least squares'
              ? await reconstructed(recorded, model, plan, adapter, folded, fold ? estimate.masks : undefined)
              : compensate === 'mean'
                ? await compensation(plan, estimate.measures, bench, adapter)
                : [];
          const delta = new Map([...folded, ...found]);
          const { smaller, masked } = await both(recorded, model, plan, adapter, delta);
          expect(distance(smaller, masked), cut).below(1e-5);
        }
      });

    it('and least squares bring it nearer to the whole one', async () => {
      const { estimate, adapter } = await estimated(recorded, model, 'taylor');
      const scores = scoresOf(estimate, { units: 'taylor', modules: 'taylor', seed: 4 }, await model.norms());
      using whole = await recorded.session(model);
      await whole.setTensors([...adapter.values()]);
      const { logits } = await whole.evaluate(recorded.batch());
      const far = { cut: 0, mended: 0 };
      for (const options of Object.values(cuts())) {
        const plan = makePlan(scores, options);
        const delta = await reconstructed(recorded, model, plan, adapter, new Map());
        far.cut += distance((await both(recorded, model, plan, adapter, null)).smaller, logits);
        far.mended += distance((await both(recorded, model, plan, adapter, delta)).smaller, logits);
      }
      expect(far.mended).below(far.cut);
    });

    it('in bfloat16, closer to each other than either to float32', async () => {
      const { estimate, adapter } = await estimated(recorded, model, 'taylor');
      const scores = scoresOf(estimate, { units: 'taylor', modules: 'taylor', seed: 4 }, await model.norms());
      const dtype: ComputeDtype = 'bfloat16';
      using half = await Model.load(recorded.checkpoint, { dtype, threads: 2 });
      for (const [cut, options] of Object.entries(cuts())) {
        const plan = makePlan(scores, options);
        const exact = await both(recorded, model, plan, adapter, null);
        const { smaller, masked } = await both(recorded, half, plan, adapter, null);
        expect(rms(smaller, masked), cut).most(rms(masked, exact.masked));
        expect(rms(smaller, masked), cut).most(rms(smaller, exact.smaller));
      }
    });
  });
