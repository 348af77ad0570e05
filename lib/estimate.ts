import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { writePeftAdapter } from './adapter/peft.ts';
import { EarlyStop } from './early-stop.ts';
import { LightPeftError } from './errors.ts';
import { measured } from './measured.ts';
import { needed, type Options, type Settings, settle } from './options.ts';
import { shareOfCut } from './plan-options.ts';
import { SCORES, writeEstimate } from './plan/estimate-file.ts';
import type { RunOptions } from './run.ts';
import { inFull, loraOf, saveMoments, type Smaller, startSmaller } from './smaller.ts';
import { startHead } from './task-head.ts';
import { type Phase, runTraining, type Start } from './training.ts';
import type { Report } from './workbench.ts';

/** Steps of the masked run (Light-PEFT). */
const ESTIMATION_STEPS = 800;

const PHASE: Phase<Start & { smaller?: Smaller }> = {
  name: 'estimate',
  writes: 'peft',
  async begin(bench, data) {
    const { from, foldMasks } = bench.settings;
    if (from !== undefined) {
      if (foldMasks)
        throw new LightPeftError(
          'BAD_OPTION',
          '--fold-masks: masks are folded by train, after all estimations',
        );
      const smaller = await startSmaller(bench, data, from, { masks: true });
      return { ...smaller, smaller };
    }
    const session = bench.session(bench.model, data.labels, bench.modules(), { masks: true });
    await startHead(bench, session, data.labels);
    return { session };
  },
  steps: (_, settings) => settings.maxSteps || ESTIMATION_STEPS,
  // What has settled is told from the first steps on.
  scoreFrom: (steps, { earlyStop }) => (earlyStop ? 0 : Math.floor(steps / 2)),
  early: async (bench, { session, smaller }, { examples }) =>
    bench.settings.earlyStop ? await EarlyStop.over(bench, session, examples, smaller) : undefined,
  async save(bench, out, { session, smaller }, { tensors, info, steps }) {
    await writePeftAdapter(out, inFull(bench, tensors, smaller), info);
    await saveMoments(bench, out, session, steps, smaller);
    await writeEstimate(join(out, SCORES), await measured(bench, session, smaller));
  },
  // Scores of a part of the steps would pass for those of all.
  savesUnfinished: false,
};

/** All rounds but the last leave their estimates in folders of their own; where they are done already, they are not run again. */
async function earlierRounds(options: Options, run: RunOptions): Promise<{ from: string; seconds: number }> {
  const settings = settle(options);
  const out = needed(settings, 'out');
  const round = async (
    number: number,
    from: string | undefined,
  ): Promise<{ from: string; seconds: number }> => {
    const folder = join(out, `round-${number}`);
    const resume = settings.resume && existsSync(join(folder, 'training_state.safetensors'));
    const done = settings.resume && !resume && existsSync(join(folder, SCORES));
    const report = done
      ? undefined
      : await oneRound({ ...options, resume, out: folder, from }, number, settings, run);
    const seconds = report?.seconds ?? 0;
    if (number === settings.rounds - 1) return { from: folder, seconds };
    const rest = await round(number + 1, folder);
    return { ...rest, seconds: seconds + rest.seconds };
  };
  return round(1, undefined);
}

/** The cut before a round is as far on the way to the target as the round is among all, and the last step. */
async function oneRound(
  options: Options,
  number: number,
  { rounds }: Settings,
  run: RunOptions,
): Promise<Report> {
  const { from } = options;
  if (from === undefined) return runTraining(options, run, PHASE);
  const cut = rounds > 1 ? shareOfCut(settle(options), (number - 1) / rounds) : {};
  return runTraining({ ...options, ...(await loraOf(from)), ...cut }, run, PHASE);
}

/**
 * The masked run of Light-PEFT: trains PEFT and task head, and head and neuron masks under an L1 penalty where the
 * estimator asks for them, and measures what each head, neuron, module and rank contributes, averaged over the last half
 * of the steps, or over all of them where it may stop early. Writes the Scores and the adapter trained so far, in full shape, to `out`.
 *
 * With `from`, what that estimate leaves of the model by the given targets or ratios is estimated; with `rounds`, that
 * is repeated, each cut as many times deeper as the one before.
 */
export async function estimate(options: Options, run: RunOptions = {}): Promise<Report> {
  const settings = settle(options);
  const { rounds, from } = settings;
  if (rounds === 1) return oneRound(options, 1, settings, run);
  if (from !== undefined)
    throw new LightPeftError(
      'BAD_OPTION',
      '--rounds and --from exclude each other: the first round has the whole base',
    );
  const earlier = await earlierRounds(options, run);
  const out = needed(settings, 'out');
  const resume = settings.resume && existsSync(join(out, 'training_state.safetensors'));
  const report = await oneRound({ ...options, resume, from: earlier.from }, rounds, settings, run);
  return { ...report, seconds: report.seconds + earlier.seconds };
}
