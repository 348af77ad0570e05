import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { writePeftAdapter } from './adapter/peft.ts';
import { evaluateAll } from './evaluation.ts';
import { fit } from './fit.ts';
import { needed, type Options, settle } from './options.ts';
import { writeScores } from './plan/scores-file.ts';
import { noteTruncation, type RunOptions } from './run.ts';
import { type Report, Workbench } from './workbench.ts';

/** Steps of the masked run (Light-PEFT). */
const ESTIMATION_STEPS = 800;

/**
 * The masked run of Light-PEFT: trains PEFT, task head and L1-penalised head and neuron masks together, and measures
 * what each module and rank contributes, averaged over the last half of the steps. Writes the Scores and the adapter
 * trained so far, in full shape, to `out`.
 */
export async function estimate(options: Options, run: RunOptions = {}): Promise<Report> {
  const settings = settle(options);
  const out = needed(settings, 'out');
  const trainFile = needed(settings, 'trainFile');
  using bench = await Workbench.open(settings);
  const train = await bench.read(trainFile);
  noteTruncation(run, trainFile, train.truncated);
  const validation = settings.validationFile && (await bench.read(settings.validationFile, train.labels));
  const modules = bench.modules();
  using session = bench.session(bench.model, train.labels, modules, true);

  const steps = settings.maxSteps || ESTIMATION_STEPS;
  const result = await fit(session, train.examples, {
    settings,
    steps,
    scoreFrom: Math.floor(steps / 2),
    ...run,
  });
  const raw = await session.scores();
  const tensors = await session.tensors();
  await mkdir(out, { recursive: true });
  await writePeftAdapter(out, tensors, bench.adapterInfo(train));
  await writeScores(join(out, 'scores.safetensors'), {
    fingerprint: bench.checkpoint.fingerprint,
    steps: raw.steps,
    heads: raw.heads,
    neurons: raw.neurons,
    modules: modules.map(({ name }, i) => ({ name, ratio: raw.ratios[i]!, ranks: raw.ranks[i]! })),
  });
  const evaluation = validation
    ? await evaluateAll(session, validation.examples, train.labels, train.metrics)
    : undefined;
  return bench.report(result, evaluation, tensors);
}
