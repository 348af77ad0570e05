import { join } from 'node:path';
import { writePeftAdapter } from './adapter/peft.ts';
import type { Options } from './options.ts';
import { SCORES, writeScores } from './plan/scores-file.ts';
import type { RunOptions } from './run.ts';
import { type Phase, runTraining, startHead } from './training.ts';
import type { Report } from './workbench.ts';

/** Steps of the masked run (Light-PEFT). */
const ESTIMATION_STEPS = 800;

const PHASE: Phase = {
  name: 'estimate',
  writes: 'peft',
  async begin(bench, labels) {
    const session = bench.session(bench.model, labels, bench.modules(), true);
    await startHead(bench, session, labels);
    return { session };
  },
  steps: (_, settings) => settings.maxSteps || ESTIMATION_STEPS,
  scoreFrom: (steps) => Math.floor(steps / 2),
  async save(out, { session }, tensors, info) {
    const { steps, heads, neurons, ratios, ranks } = await session.scores();
    await writePeftAdapter(out, tensors, info);
    await writeScores(join(out, SCORES), {
      fingerprint: info.fingerprint,
      steps,
      heads,
      neurons,
      modules: session.modules.map(({ name }, i) => ({ name, ratio: ratios[i]!, ranks: ranks[i]! })),
    });
  },
  // Scores of a part of the steps would pass for those of all.
  savesUnfinished: false,
};

/**
 * The masked run of Light-PEFT: trains PEFT, task head and L1-penalised head and neuron masks together, and measures
 * what each module and rank contributes, averaged over the last half of the steps. Writes the Scores and the adapter
 * trained so far, in full shape, to `out`.
 */
export const estimate = (options: Options, run: RunOptions = {}): Promise<Report> =>
  runTraining(options, run, PHASE);
