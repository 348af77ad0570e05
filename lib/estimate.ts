import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { peftFiles } from './adapter/peft.ts';
import { EarlyStop } from './early-stop.ts';
import { begun } from './engine.ts';
import { LightPeftError } from './errors.ts';
import { measured } from './measured.ts';
import { type Cut, cutOf, needed, type Options, type Settings, settle } from './options.ts';
import { checkCut, checkFits, shareOfCut } from './plan-options.ts';
import { estimateFile, purposeOf, SCORES } from './plan/estimate-file.ts';
import { estimatorOf, trainsMasks } from './plan/estimators.ts';
import { RoundsDone } from './rounds-done.ts';
import type { RunOptions } from './run.ts';
import { goingOn } from './going-on.ts';
import { inFull, momentsOf, type Smaller, startSmaller } from './smaller.ts';
import { startHead } from './task-head.ts';
import { checkVacant, type Phase, runTraining, type Start } from './training.ts';
import { batchesIdentity, STATE, TrainingState } from './training-state.ts';
import { alone, isSamePlace, makeFolder, whole } from './result-folder.ts';
import { writeTogether } from './whole-file.ts';
import type { Report } from './workbench.ts';

/** Steps of the masked run (Light-PEFT). */
const ESTIMATION_STEPS = 800;

interface Estimation extends Start {
  /** Of what it takes. */
  batches: string;
  smaller?: Smaller;
}

/** @param next the settings of the cut that is to settle, and the options of the one that the estimate is for */
const phaseFor = (next: Settings, cut: Cut): Phase<Estimation> => ({
  name: 'estimate',
  writes: 'estimate',
  async begin(bench, data) {
    const { from } = bench.settings;
    checkFits(next, bench.checkpoint.spec);
    const batches = batchesIdentity(bench.settings, data.examples);
    if (from !== undefined) {
      const smaller = await startSmaller(bench, data, from, { masks: true });
      return { ...smaller, smaller, batches };
    }
    const session = bench.session(bench.model, data.labels, bench.modules(), { masks: true });
    return { batches, session: await begun(session, () => startHead(bench, session, data.labels)) };
  },
  steps: (_, settings) => settings.maxSteps || ESTIMATION_STEPS,
  // What has settled is told from the first steps on.
  scoreFrom: (steps, { earlyStop }) => (earlyStop ? 0 : Math.floor(steps / 2)),
  early: async (bench, { session, smaller }, data) =>
    bench.settings.earlyStop ? await EarlyStop.of(bench, session, data, next, smaller) : undefined,
  async save(bench, out, { session, smaller, batches }, { tensors, info, steps }) {
    const estimate = await measured(bench, session, smaller);
    await writeTogether([
      estimateFile(join(out, SCORES), { ...estimate, taken: { steps, batches } }, cut),
      await momentsOf(bench, out, session, steps, smaller),
      ...peftFiles(out, inFull(bench, tensors, smaller), info, bench.family),
    ]);
  },
  // Scores of a part of the steps would pass for those of all.
  savesUnfinished: false,
});

/** @throws {LightPeftError} BAD_OPTION: what no round could do */
function checkRounds(settings: Settings): void {
  const { rounds, from, foldMasks, earlyStop, carryMoments } = settings;
  const bad = (message: string) => new LightPeftError('BAD_OPTION', message);
  checkCut(settings);
  if (foldMasks) throw bad('--fold-masks: masks are folded by train, after all estimations');
  if (rounds > 1 && from !== undefined)
    throw bad('--rounds and --from exclude each other: the first round has the whole base');
  if (rounds === 1 && from === undefined && (settings.rewind || carryMoments))
    throw bad(`${settings.rewind ? '--rewind' : '--carry-moments'}: there is nothing before this estimation`);
  if (rounds === 1 && from !== undefined && earlyStop)
    throw bad(
      '--early-stop: with --from the cut is made already, and what comes after it is not known; see --rounds',
    );
  if (carryMoments && (rounds > 1 || from !== undefined) && trainsMasks(estimatorOf(settings)))
    throw bad('--carry-moments: masks start anew with each estimation, and so must the optimizer');
}

/** What `from` was trained with and measured for goes on, where nothing else is asked for. */
async function following(options: Options, from: string, run: RunOptions): Promise<Options> {
  await whole(from);
  const { estimator, moduleEstimator } = await purposeOf(join(from, SCORES));
  return goingOn(from, { estimator, moduleEstimator, ...options }, run);
}

async function inRounds(options: Options, settings: Settings, run: RunOptions): Promise<Report> {
  const out = needed(settings, 'out');
  await makeFolder(out);
  checkVacant(out, 'estimate');
  return alone(out, () => {
    // What a killed process has left there is whole only now.
    checkVacant(out, 'estimate');
    return eachRound(options, settings, run);
  });
}

const beginningWith =
  (phase: Phase<Estimation>, work: () => Promise<void>): Phase<Estimation>['begin'] =>
  async (...given) => {
    const start = await phase.begin(...given);
    await begun(start.session, work);
    return start;
  };

/** The cut before a round is as far on the way to the target as the round is among all. */
async function eachRound(options: Options, settings: Settings, run: RunOptions): Promise<Report> {
  const out = needed(settings, 'out');
  const { rounds, resume } = settings;
  const folderOf = (round: number) => (round === rounds ? out : join(out, `round-${round}`));
  // What an earlier run has left there is none of this one's.
  const beginAnew = (round: number) => new TrainingState(folderOf(round), {}).remove();
  const done = await RoundsDone.of(out, settings);
  let seconds = 0;
  for (let round = done.count + 1; ; round++) {
    const folder = folderOf(round);
    run.onNote?.(`round ${round} of ${rounds}`);
    const own: Options = { ...options, out: folder, resume: resume && existsSync(join(folder, STATE)) };
    const from = round > 1 ? folderOf(round - 1) : undefined;
    const before = from === undefined ? {} : shareOfCut(settings, (round - 1) / rounds);
    const all = from === undefined ? own : { ...(await following(own, from, run)), from, ...before };
    const next = settle({ ...own, ...shareOfCut(settings, round / rounds) });
    const phase = phaseFor(next, cutOf(options));
    // Only once it begins is what an earlier run has left of no more use.
    const begins = async () => {
      await beginAnew(1);
      await done.write();
    };
    const of = round === 1 && !resume ? { ...phase, begin: beginningWith(phase, begins) } : phase;
    const report = await runTraining(all, run, of, { held: folder === out });
    seconds += report.seconds;
    if (round === rounds) {
      await done.remove();
      return { ...report, seconds };
    }
    await beginAnew(round + 1);
    await done.add();
  }
}

/**
 * The masked run of Light-PEFT: trains PEFT and task head, and head and neuron masks under an L1 penalty where the
 * estimator asks for them, and measures what each head, neuron, module and rank contributes, averaged over the last half
 * of the steps, or over all of them where it may stop early. Writes the Scores and the adapter trained so far, in full shape, to `out`.
 *
 * With `from`, what that estimate leaves of the model by the given targets or ratios is estimated; with `rounds`, that
 * is repeated, each cut the same factor deeper than the one before.
 */
export async function estimate(options: Options, run: RunOptions = {}): Promise<Report> {
  const settings = settle(options);
  checkRounds(settings);
  if (settings.from !== undefined && (await isSamePlace(settings.from, needed(settings, 'out'))))
    throw new LightPeftError('BAD_OPTION', '--out: the estimate to go on from would be overwritten');
  if (settings.rounds > 1) return inRounds(options, settings, run);
  const { from } = settings;
  const all = from === undefined ? options : await following(options, from, run);
  return runTraining(all, run, phaseFor(settle(all), cutOf(all)));
}
