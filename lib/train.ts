import { join } from 'node:path';
import { cutAdapter } from './adapter/cut.ts';
import { writeLightAdapter } from './adapter/light.ts';
import { readPeftAdapter, writePeftAdapter } from './adapter/peft.ts';
import { readHeader } from './checkpoint/safetensors.ts';
import type { Session } from './engine.ts';
import { evaluateAll } from './evaluation.ts';
import { fit, stepsOf } from './fit.ts';
import type { ModuleConfig, NamedTensor } from './native.ts';
import { needed, type Options, type Settings, settle } from './options.ts';
import { makePlan, type Plan } from './plan/plan.ts';
import { readScores } from './plan/scores-file.ts';
import { noteTruncation, type RunOptions } from './run.ts';
import { type Report, Workbench } from './workbench.ts';

interface Start {
  bench: Workbench;
  session: Session;
  plan?: Plan;
}

type Begin = (bench: Workbench, labels: Parameters<Workbench['session']>[1]) => Promise<Omit<Start, 'bench'>>;

type Save = (
  out: string,
  tensors: NamedTensor[],
  info: ReturnType<Workbench['adapterInfo']>,
  plan?: Plan,
) => Promise<void>;

/** Trains what `begin` sets up, saves it with `save`, evaluates it. */
async function trainWith(options: Options, run: RunOptions, begin: Begin, save: Save): Promise<Report> {
  const settings = settle(options);
  const out = needed(settings, 'out');
  const trainFile = needed(settings, 'trainFile');
  using bench = await Workbench.open(settings);
  const train = await bench.read(trainFile);
  noteTruncation(run, trainFile, train.truncated);
  const validation = settings.validationFile && (await bench.read(settings.validationFile, train.labels));
  const { session, plan } = await begin(bench, train.labels);
  try {
    const steps = stepsOf(train.examples.length, settings);
    const result = await fit(session, train.examples, { settings, steps, ...run });
    const tensors = await session.tensors();
    await save(out, tensors, bench.adapterInfo(train), plan);
    const evaluation = validation
      ? await evaluateAll(session, validation.examples, train.labels, train.metrics)
      : undefined;
    return bench.report(result, evaluation, tensors, plan?.layers);
  } finally {
    session.dispose();
  }
}

/** Fine-tunes LoRA on the whole base; writes a Hugging Face PEFT adapter. */
export const vanillaTrain = (options: Options, run: RunOptions = {}): Promise<Report> =>
  trainWith(
    options,
    run,
    (bench, labels) => Promise.resolve({ session: bench.session(bench.model, labels, bench.modules()) }),
    (out, tensors, info) => writePeftAdapter(out, tensors, info),
  );

const planOptions = (settings: Settings) => ({
  ratios: {
    heads: settings.headRatio,
    neurons: settings.neuronRatio,
    modules: settings.moduleRatio,
    ranks: settings.rankRatio,
  },
  scopes: { heads: settings.headScope, neurons: settings.neuronScope },
});

/** The modules that a Plan keeps; the scale stays that of the uncut module. */
export const cutModules = (modules: ModuleConfig[], plan: Plan): ModuleConfig[] =>
  plan.modules.map(({ name, ranks }) => ({ ...modules.find((m) => m.name === name)!, rank: ranks.length }));

/**
 * Light-PEFT's second stage: cuts the base and the estimated adapter by a Plan made from the Scores of `from`, goes on
 * training the smaller model with a fresh optimizer, and writes a light adapter.
 */
export const train = async (options: Options, run: RunOptions = {}): Promise<Report> => {
  const { info } = await readPeftAdapter(needed(settle(options), 'from'));
  // The tensors that go on were estimated with these; other values would scale them wrongly.
  const lora = info && { loraR: info.r, loraAlpha: info.alpha, targetModules: info.targetModules };
  return trainWith(
    { ...options, ...lora },
    run,
    async (bench, labels) => {
      const from = needed(bench.settings, 'from');
      const file = join(from, 'scores.safetensors');
      const { metadata } = await readHeader(file);
      const scores = await readScores(file, metadata, bench.checkpoint.fingerprint);
      const plan = makePlan(scores, planOptions(bench.settings));
      const modules = bench.modules();
      const adapter = await readPeftAdapter(from);
      const { headSize } = bench.checkpoint.spec;
      const siteOf = (name: string) => modules.find((m) => m.name === name)!;
      const tensors = cutAdapter(adapter.tensors, plan, headSize, siteOf);
      const { threads } = bench.settings;
      using model = await bench.model.cut(plan.layers, { threads });
      const session = bench.session(model, labels, cutModules(modules, plan));
      await session.setTensors(tensors);
      return { session, plan };
    },
    (out, tensors, info, plan) => writeLightAdapter(out, tensors, plan!, info),
  );
};
