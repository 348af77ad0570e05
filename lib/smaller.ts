import { createHash } from 'node:crypto';
import { join } from 'node:path';
import type { Adapter } from './adapter/compensation.ts';
import { cutAdapter, mergeAdapter } from './adapter/cut.ts';
import { digestOf, layerCuts } from './adapter/delta.ts';
import { MOMENT_ALONG, MOMENT_PARTS, momentsFile, readMoments } from './adapter/moments.ts';
import { PEFT_CONFIG, ranksOf } from './adapter/files.ts';
import { readPeftAdapter } from './adapter/peft.ts';
import type { Dataset } from './data/dataset.ts';
import { isReordered, outputsFor, toldAs } from './data/labels.ts';
import { returning, scalesAndMeans } from './base-delta.ts';
import { begun, type Session } from './engine.ts';
import { LightPeftError, messageOf } from './errors.ts';
import { stepsOf } from './fit.ts';
import type { ModuleConfig, NamedTensor } from './native.ts';
import { needed, type Settings } from './options.ts';
import { type Estimate, readEstimate, SCORES } from './plan/estimate-file.ts';
import { scoresOf } from './plan/estimators.ts';
import { makePlan, type Plan } from './plan/plan.ts';
import { planOptions } from './plan-options.ts';
import { mended } from './reconstruction.ts';
import { readWhole } from './result-folder.ts';
import type { Start } from './training.ts';
import { batchesIdentity, interruptedDelta } from './training-state.ts';
import { startHead } from './task-head.ts';
import type { WholeFile } from './whole-file.ts';
import type { Workbench } from './workbench.ts';

/** A phase that starts from an estimate: the base and the adapter, cut by a Plan that is made of it. */
export interface Smaller extends Start {
  estimate: Estimate;
  plan: Plan;
  /** As the cut found it, whole. */
  adapter: Adapter;
  /** Whether the estimation was short beside the run. */
  long: boolean;
  /** Gradient steps that the optimizer has behind it before the first one here. */
  optimizerSteps: number;
}

/** The modules that a Plan keeps; the scale stays that of the uncut module. */
const cutModules = (modules: ModuleConfig[], plan: Plan, rate: number): ModuleConfig[] =>
  plan.modules.map(({ name, ranks }) => ({
    ...modules.find((m) => m.name === name)!,
    rank: ranks.length,
    rate,
  }));

/** By what factor what is left of an adapter learns faster: alone it moves the model less than with all the rest (docs/results.md). */
function usualRate(whole: Adapter, left: readonly NamedTensor[]): number {
  const size = (tensors: Iterable<readonly [string, { data: { length: number } }]>) =>
    [...tensors].reduce((sum, [name, { data }]) => sum + (name.includes('.lora_') ? data.length : 0), 0);
  return (size(whole) / size(left.map((tensor) => [tensor.name, tensor]))) ** 0.25;
}

/** What an interrupted run has changed in its base does not fit this cut. */
const toldOfAnother = (cause: unknown): never => {
  throw new LightPeftError(
    'BAD_STATE',
    `--resume: the run to go on with had another cut: ${messageOf(cause)}`,
    { cause },
  );
};

/** Whether a run takes the batches of an estimation, and many times as many. */
const isLong = (settings: Settings, { examples }: Dataset, { taken }: Estimate): boolean =>
  taken !== undefined &&
  taken.steps <= settings.estimationShare * stepsOf(examples.length, settings) &&
  taken.batches === batchesIdentity(settings, examples);

function noteReturning({ note }: Workbench, plan: Plan, estimate: Estimate): void {
  const count = returning(plan, estimate);
  if (count > 0)
    note(
      `${count} heads and neurons come back that were cut before this estimate: it asked for a smaller target`,
    );
}

/** The adapter as a run with these settings starts with it. */
async function untrained(bench: Workbench, { labels }: Dataset): Promise<Adapter> {
  using session = bench.session(bench.model, labels, bench.modules());
  await startHead(bench, session, labels);
  return new Map((await bench.trained(session)).map((tensor) => [tensor.name, tensor]));
}

const placeOf = (bench: Workbench) => {
  const modules = bench.modules();
  return (name: string) => modules.find((module) => module.name === name);
};

/** An estimate, the adapter that was trained beside it, and its optimizer's moments where these go on. */
const readFrom = (bench: Workbench, from: string) =>
  readWhole(from, PEFT_CONFIG, async () => {
    const { checkpoint, tokenizer, settings } = bench;
    const { tensors: trained, info } = await readPeftAdapter(from, bench.family);
    // The settings have these of it.
    if (info && (info.r !== settings.loraR || info.alpha !== settings.loraAlpha))
      throw new LightPeftError('BAD_SCORES', `--from: ${from} was replaced while files were read`);
    const ranks = ranksOf(trained, from);
    const estimate = await readEstimate(join(from, SCORES), {
      fingerprint: checkpoint.fingerprint,
      tokenizer: tokenizer.fingerprint,
      spec: checkpoint.spec,
      modules: bench.modulesOf((name) => ranks.get(name)),
    });
    return { trained, info, estimate, moments: settings.carryMoments ? await readMoments(from) : undefined };
  });

/**
 * @param masks whether what is left is estimated again
 * @param prefixCache MiB
 */
export async function startSmaller(
  bench: Workbench,
  data: Dataset,
  from: string,
  { masks = false, prefixCache = 0 } = {},
): Promise<Smaller> {
  const { settings, checkpoint, model } = bench;
  const { rewind, threads } = settings;
  const { trained, info, estimate, moments } = await readFrom(bench, from);
  const kind = toldAs(data.labels);
  if (info && info.tells !== kind)
    throw new LightPeftError(
      'BAD_OPTION',
      `--from: what ${from} has learned tells ${info.tells}, and the data is for ${kind}`,
    );
  const { labels } = data;
  const names = labels.kind === 'classes' || labels.kind === 'tags' ? labels.names : undefined;
  if (info?.labels && names && isReordered(info.labels, names))
    throw new LightPeftError(
      'BAD_OPTION',
      `--from: ${from} has learned ${info.labels.join(', ')}, and the data tells ${names.join(', ')}; see --label-names`,
    );
  const learned = trained.get('classifier.out_proj.weight')?.shape[0];
  if (learned !== undefined && learned !== outputsFor(data.labels))
    throw new LightPeftError(
      'BAD_OPTION',
      `--from: ${from} has learned ${learned} ${learned === 1 ? 'value' : 'labels'}, and the data has ${outputsFor(data.labels)}`,
    );
  // Where what is left is estimated again, the settings say what is measured then, not what to cut by now.
  const asked: Partial<Settings> = masks ? {} : settings;
  const by = {
    units: asked.estimator ?? estimate.estimator,
    modules: asked.moduleEstimator ?? estimate.moduleEstimator,
    seed: settings.seed,
  };
  const long = !masks && isLong(settings, data, estimate);
  const how = await planOptions(bench, data, settings, { long });
  const plan = makePlan(scoresOf(estimate, by, await model.norms()), how);
  noteReturning(bench, plan, estimate);
  const adapter = rewind ? await untrained(bench, data) : trained;
  // What is estimated again is what the cut leaves, as it is: it is part of another cut to come.
  const compensate = masks ? 'none' : settings.compensate;
  const scales = await scalesAndMeans(bench, plan, estimate, adapter, compensate === 'mean');
  const cut = (whole: Adapter, along?: Parameters<typeof cutAdapter>[5]) =>
    cutAdapter(whole, plan, checkpoint.spec, placeOf(bench), scales, along);
  const tensors = cut(adapter);
  const optimizerSteps = moments?.steps ?? 0;
  // Where what is left is estimated again, it is scored as it learned before.
  const rate = masks ? 1 : (settings.adapterLr ?? usualRate(adapter, tensors));
  const modules = cutModules(bench.modules(), plan, rate);
  const began = performance.now();
  const mends = compensate === 'least-squares';
  const kept = mends && settings.resume ? await interruptedDelta(needed(settings, 'out')) : undefined;
  const cutting = { plan, scales, modules, adapter, tensors, estimate };
  const delta = kept ?? (mends ? await mended(bench, data, cutting) : scales);
  const seconds = mends && !kept ? (performance.now() - began) / 1000 : 0;
  const cutBase = () => model.cut(layerCuts(plan, delta), { threads });
  using small = await (kept ? cutBase().catch(toldOfAnother) : cutBase());
  const start = createHash('sha256').update(JSON.stringify(plan));
  if (delta) start.update(digestOf(delta));
  const session = bench.session(small, data.labels, modules, { masks, prefixCache, optimizerSteps });
  await begun(session, async () => {
    await session.setTensors(tensors);
    for (const { data: values } of tensors) start.update(values);
    for (const part of moments ? MOMENT_PARTS : []) {
      const values = cut(moments![part], MOMENT_ALONG[part]);
      await session.setTensors(values, part);
      for (const { data: of } of values) start.update(of);
    }
  });
  return {
    ...{ session, estimate, plan, adapter, long, optimizerSteps, seconds },
    ...{ delta: delta ?? undefined, identity: { from: start.digest('hex'), rate: String(rate) } },
  };
}

/** Tensors of a session in the shapes of the whole base; what was cut from it is as the cut found it. */
export const inFull = (
  bench: Workbench,
  tensors: NamedTensor[],
  smaller: Smaller | undefined,
  whole: Adapter | undefined = smaller?.adapter,
): NamedTensor[] =>
  smaller && whole
    ? mergeAdapter(whole, tensors, smaller.plan, bench.checkpoint.spec, placeOf(bench))
    : tensors;

/** The optimizer's moments in the shapes of the whole base, those of what is gone zero. */
export async function momentsOf(
  bench: Workbench,
  out: string,
  session: Session,
  steps: number,
  smaller?: Smaller,
): Promise<WholeFile> {
  const zeros =
    smaller &&
    [...smaller.adapter].map(([name, { shape, data }]) => {
      return [name, { shape, data: new Float32Array(data.length) }] as const;
    });
  const of = async (part: (typeof MOMENT_PARTS)[number]) =>
    inFull(bench, await bench.trained(session, part), smaller, zeros && new Map(zeros));
  return momentsFile(out, (smaller?.optimizerSteps ?? 0) + steps, {
    moment1: await of('moment1'),
    moment2: await of('moment2'),
  });
}

/** Whether an estimate was made of the whole base, and its adapter trained on it. */
export const isOfWhole = ({ masks, measures }: Estimate): boolean =>
  [...masks.heads, ...masks.neurons, ...measures.rankTaylor].every(
    (values) => !values.some((value) => Number.isNaN(value)),
  );
