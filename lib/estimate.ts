import { join } from 'node:path';
import { writePeftAdapter } from './adapter/peft.ts';
import { EarlyStop } from './early-stop.ts';
import { measured } from './measured.ts';
import type { Options } from './options.ts';
import { SCORES, writeEstimate } from './plan/estimate-file.ts';
import type { RunOptions } from './run.ts';
import { type Phase, runTraining, startHead } from './training.ts';
import type { Report } from './workbench.ts';

/** Steps of the masked run (Light-PEFT). */
const ESTIMATION_STEPS = 800;

const PHASE: Phase = {
  name: 'estimate',
  writes: 'peft',
  async begin(bench, { labels }) {
    const session = bench.session(bench.model, labels, bench.modules(), { masks: true });
    await startHead(bench, session, labels);
    return { session };
  },
  steps: (_, settings) => settings.maxSteps || ESTIMATION_STEPS,
  // What has settled is told from the first steps on.
  scoreFrom: (steps, { earlyStop }) => (earlyStop ? 0 : Math.floor(steps / 2)),
  early: (bench, { session }, train) =>
    bench.settings.earlyStop ? new EarlyStop(bench, session, train.examples) : undefined,
  async save(out, { session }, tensors, info, settings) {
    await writePeftAdapter(out, tensors, info);
    await writeEstimate(join(out, SCORES), await measured(session, info.fingerprint, settings));
  },
  // Scores of a part of the steps would pass for those of all.
  savesUnfinished: false,
};

/**
 * The masked run of Light-PEFT: trains PEFT and task head, and head and neuron masks under an L1 penalty where the
 * estimator asks for them, and measures what each head, neuron, module and rank contributes, averaged over the last half
 * of the steps, or over all of them where it may stop early. Writes the Scores and the adapter trained so far, in full shape, to `out`.
 */
export const estimate = (options: Options, run: RunOptions = {}): Promise<Report> =>
  runTraining(options, run, PHASE);
