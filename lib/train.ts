import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { cutAdapter } from './adapter/cut.ts';
import type { EncodedExample } from './data/batches.ts';
import { type Adapter, compensation } from './adapter/compensation.ts';
import { foldedMasks, layerCuts } from './adapter/delta.ts';
import { writeLightAdapter } from './adapter/light.ts';
import { readPeftAdapter, writePeftAdapter } from './adapter/peft.ts';
import { LightPeftError } from './errors.ts';
import { stepsOf } from './fit.ts';
import type { ModuleConfig } from './native.ts';
import { needed, type Options, settle } from './options.ts';
import { makePlan, type Plan } from './plan/plan.ts';
import { readEstimate, SCORES } from './plan/estimate-file.ts';
import { planOptions } from './plan-options.ts';
import { scoresOf, trainsMasks } from './plan/estimators.ts';
import type { RunOptions } from './run.ts';
import { type Phase, runTraining, startHead } from './training.ts';
import { removeFile } from './whole-file.ts';
import type { Report, Workbench } from './workbench.ts';

const VANILLA: Phase = {
  name: 'vanilla-train',
  async begin(bench, { labels }) {
    const session = bench.session(bench.model, labels, bench.modules());
    await startHead(bench, session, labels);
    return { session };
  },
  steps: stepsOf,
  async save(out, _, tensors, info) {
    // They would pass for this adapter's.
    await removeFile(join(out, SCORES));
    await writePeftAdapter(out, tensors, info);
  },
  writes: 'peft',
  savesUnfinished: true,
};

/** Fine-tunes LoRA on the whole base; writes a Hugging Face PEFT adapter. */
export const vanillaTrain = (options: Options, run: RunOptions = {}): Promise<Report> =>
  runTraining(options, run, VANILLA);

/** The modules that a Plan keeps; the scale stays that of the uncut module. */
const cutModules = (modules: ModuleConfig[], plan: Plan): ModuleConfig[] =>
  plan.modules.map(({ name, ranks }) => ({ ...modules.find((m) => m.name === name)!, rank: ranks.length }));

/** Scores, the Plan that they make, and what it changes in the base. */
async function planOf(bench: Workbench, adapter: Adapter, examples: readonly EncodedExample[], from: string) {
  const { settings, checkpoint, model } = bench;
  const estimate = await readEstimate(join(from, SCORES), checkpoint.fingerprint);
  const by = {
    units: settings.estimator ?? estimate.estimator,
    modules: settings.moduleEstimator ?? estimate.moduleEstimator,
    seed: settings.seed,
  };
  const plan = makePlan(scoresOf(estimate, by, await model.norms()), planOptions(bench, examples));
  if (settings.foldMasks && !trainsMasks(estimate.estimator))
    throw new LightPeftError(
      'BAD_OPTION',
      `--fold-masks: the estimation was run for ${estimate.estimator}, which trains no masks`,
    );
  if (settings.compensate && trainsMasks(estimate.estimator) && !settings.foldMasks)
    throw new LightPeftError(
      'BAD_OPTION',
      '--compensate: means were measured with trained masks, and need --fold-masks to be right',
    );
  const delta = new Map([
    ...(settings.foldMasks ? foldedMasks(plan, estimate.masks) : []),
    ...(settings.compensate ? await compensation(plan, estimate.measures, bench, adapter) : []),
  ]);
  return { plan, delta: delta.size > 0 ? delta : undefined };
}

const LIGHT: Phase = {
  name: 'train',
  async begin(bench, { labels, examples }) {
    const from = needed(bench.settings, 'from');
    const { tensors: adapter } = await readPeftAdapter(from);
    const { plan, delta } = await planOf(bench, adapter, examples, from);
    const modules = bench.modules();
    const siteOf = (name: string) => modules.find((m) => m.name === name);
    const tensors = cutAdapter(adapter, plan, bench.checkpoint.spec.headSize, siteOf, delta);
    const { threads } = bench.settings;
    using model = await bench.model.cut(layerCuts(plan, delta ?? null), { threads });
    const { prefixCache } = bench.settings;
    const session = bench.session(model, labels, cutModules(modules, plan), { prefixCache });
    await session.setTensors(tensors);
    const start = createHash('sha256').update(JSON.stringify(plan));
    for (const { data } of tensors) start.update(data);
    return { session, plan, delta, identity: { from: start.digest('hex') } };
  },
  steps: stepsOf,
  writes: 'light',
  save: (out, { plan, delta }, tensors, info) => writeLightAdapter(out, tensors, plan!, info, delta),
  savesUnfinished: true,
};

/**
 * Light-PEFT's second stage: cuts the base and the estimated adapter by a Plan made from the Scores of `from`, goes on
 * training the smaller model with a fresh optimizer, and writes a light adapter.
 */
export const train = async (options: Options, run: RunOptions = {}): Promise<Report> => {
  const { info } = await readPeftAdapter(needed(settle(options), 'from'));
  // The tensors that go on were estimated with these; other values would scale them wrongly.
  const lora = info && { loraR: info.r, loraAlpha: info.alpha, targetModules: info.targetModules };
  return runTraining({ ...options, ...lora }, run, LIGHT);
};
