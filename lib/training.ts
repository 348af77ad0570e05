import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { BaseDelta } from './adapter/delta.ts';
import type { AdapterInfo } from './adapter/info.ts';
import { CONFIG } from './checkpoint/config.ts';
import { checkOwn } from './checkpoint/written.ts';
import type { EncodedExample } from './data/batches.ts';
import type { Dataset } from './data/dataset.ts';
import type { LabelSet } from './data/labels.ts';
import type { Session } from './engine.ts';
import { LightPeftError, messageOf } from './errors.ts';
import { evaluateAll } from './evaluation.ts';
import { type EarlyEnd, fit, type FitOptions } from './fit.ts';
import type { NamedTensor } from './native.ts';
import { needed, type Options, type Settings, settle } from './options.ts';
import { SCORES } from './plan/estimate-file.ts';
import type { Plan } from './plan/plan.ts';
import { noteNames, noteTruncation, type RunOptions } from './run.ts';
import { type Identity, identityOf, TrainingState } from './training-state.ts';
import { LIGHT_PLAN, PEFT_CONFIG } from './adapter/files.ts';
import { alone, isSamePlace, makeFolder, savedSomewhere } from './result-folder.ts';
import { isIo } from './whole-file.ts';
import { type Report, Workbench } from './workbench.ts';

/** What is trained, and how it began. */
export interface Start {
  session: Session;
  plan?: Plan | undefined;
  delta?: BaseDelta | undefined;
  /** That it took to find out what the run starts from; they count as its own. */
  seconds?: number;
  /** Of what the phase starts from, beside the base, the data and the options. */
  identity?: Identity | undefined;
  /** Those of the training file, with what else is to be learned of them. */
  examples?: readonly EncodedExample[];
  /** Steps of the run that were taken before it. */
  behind?: number;
  /** Makes a micro-batch of a step, where examples are not taken as they are. */
  pack?: FitOptions['pack'];
}

/** What a run ends with. */
export interface Result {
  tensors: NamedTensor[];
  info: AdapterInfo;
  /** That were taken. */
  steps: number;
}

/** Where estimate, train and vanilla-train differ. */
export interface Phase<S extends Start = Start> {
  name: string;
  /** Reads its files otherwise than as a task's. */
  read?(bench: Workbench, file: string, validates: boolean): Promise<Dataset>;
  begin(bench: Workbench, train: Dataset, run: RunOptions): Promise<S>;
  steps(examples: number, settings: Settings): number;
  scoreFrom?(steps: number, settings: Settings): number;
  restFrom?(steps: number, settings: Settings, start: S): number;
  /** What may end it before its last step. */
  early?(bench: Workbench, start: S, train: Dataset): Promise<EarlyEnd | undefined>;
  writes: 'peft' | 'estimate' | 'light' | 'model';
  save(bench: Workbench, out: string, start: S, result: Result): Promise<void>;
  /** Whether a run that was cut short has a result worth saving. */
  savesUnfinished: boolean;
}

/** What tells each kind of result; an estimate has an adapter of PEFT's, too. */
const SIGNS: Record<Phase['writes'], string> = {
  estimate: SCORES,
  peft: PEFT_CONFIG,
  light: LIGHT_PLAN,
  model: CONFIG,
};

/** @throws {LightPeftError} BAD_OPTION: `out` has a result of another kind, which would be lost or not be told from it */
export function checkVacant(out: string, writes: Phase['writes']): void {
  const has = (kind: Phase['writes']) => existsSync(join(out, SIGNS[kind]));
  const other = (Object.keys(SIGNS) as Phase['writes'][]).find(
    (kind) => kind !== writes && has(kind) && !(kind === 'peft' && has('estimate')),
  );
  if (other !== undefined)
    throw new LightPeftError('BAD_OPTION', `--out: ${out} holds another kind of result (${SIGNS[other]})`);
}

/**
 * What would be lost if a model were written there.
 * @throws {LightPeftError} BAD_OPTION: what is read would be written over, or a model that was not written here
 */
export async function checkModelPlace(model: string, out: string): Promise<void> {
  checkVacant(out, 'model');
  if (!existsSync(out)) return;
  if (await isSamePlace(model, out))
    throw new LightPeftError('BAD_OPTION', `--out: ${out} is the model's own folder`);
  await checkOwn(out);
}

/** What ends a run that has something to save. */
const STOPS: readonly string[] = ['ABORTED', 'NOT_FINITE'];

/**
 * Trains what `phase` sets up, saves and evaluates it. A run that is aborted leaves its state in `out`, to go on from
 * with `resume`, and what it has learned so far.
 * @param held whether the caller sees to it that no other run writes to `out`
 */
export async function runTraining<S extends Start>(
  options: Options,
  run: RunOptions,
  phase: Phase<S>,
  { held = false } = {},
): Promise<Report> {
  const settings = settle(options);
  const out = needed(settings, 'out');
  const trainFile = needed(settings, 'trainFile');
  const checkPlace = async () => {
    if (phase.writes === 'model') await checkModelPlace(settings.model, out);
    else checkVacant(out, phase.writes);
  };
  await checkPlace();
  using bench = await Workbench.open(settings, run);
  const read = async (file: string, labels?: LabelSet) =>
    phase.read ? phase.read(bench, file, labels !== undefined) : bench.read(file, labels);
  const train = await read(trainFile);
  noteTruncation(run, trainFile, train);
  if (bench.reading.labels === undefined) noteNames(run, train.labels);
  const { validationFile } = settings;
  const validation = validationFile ? await read(validationFile, train.labels) : undefined;
  if (validation) noteTruncation(run, validationFile!, validation);
  await makeFolder(out);
  const work = async () => {
    // Another run may have ended there while the files were read.
    await checkPlace();
    return trained(bench, run, phase, { out, train, validation });
  };
  return await (held ? work() : alone(out, work));
}

/** What is learned of the files that were read. */
async function trained<S extends Start>(
  bench: Workbench,
  run: RunOptions,
  phase: Phase<S>,
  { out, train, validation }: { out: string; train: Dataset; validation: Dataset | undefined },
): Promise<Report> {
  const { settings } = bench;
  const start = await phase.begin(bench, train, run);
  using session = start.session;
  const identity = {
    ...identityOf(phase.name, bench.checkpoint.fingerprint, settings, train.examples),
    ...start.identity,
  };
  const state = new TrainingState(out, identity, start.delta);
  const from = settings.resume ? await resume(state, session) : undefined;
  if (!from) state.keeps = existsSync(join(out, SIGNS[phase.writes])) && (await state.keptAnother());
  if (from) bench.note(`goes on from step ${from.step}`);
  else if (state.exists) bench.note(`starts anew; --resume would go on with the run that ${out} holds`);
  else if (state.keeps) bench.note(`what ${out} holds is replaced when this has ended`);

  const finish = async (taken: number): Promise<NamedTensor[]> => {
    const tensors = await bench.trained(session);
    if (!tensors.every(({ data }) => data.every(Number.isFinite)))
      throw new LightPeftError(
        'NOT_FINITE',
        'a trained parameter is not finite; a lower --learning-rate may help',
      );
    const result = { tensors, info: bench.adapterInfo(train), steps: taken };
    await savedSomewhere(out, (folder) => phase.save(bench, folder, start, result));
    return tensors;
  };
  let learned = from !== undefined;
  const onProgress: RunOptions['onProgress'] = (progress) => {
    learned = true;
    run.onProgress?.(progress);
  };
  const { behind = 0 } = start;
  const steps = phase.steps(train.examples.length, settings) - behind;
  if (from && from.step > steps)
    throw new LightPeftError('BAD_STATE', `${state.file}: it is at step ${from.step} of ${steps}`);
  const early = await phase.early?.(bench, start, train);
  let savedAt = from?.step;
  let ended = false;
  try {
    const {
      step,
      seconds: spent,
      tokens,
    } = await fit(session, start.examples ?? train.examples, {
      settings,
      steps,
      scoreFrom: phase.scoreFrom?.(steps, settings),
      restFrom: phase.restFrom?.(steps, settings, start),
      early,
      behind,
      from,
      pack: start.pack,
      save: async (position) => {
        const found = await session.state();
        const write = (folder: string) => state.in(folder).write(position, found);
        // There is another time unless this is the last one.
        await (run.signal?.aborted ? savedSomewhere(out, write) : write(out)).then(
          () => (savedAt = position.step),
          (error: unknown) => {
            if (!isIo(error)) throw error;
            bench.note(`the state at step ${position.step} could not be saved: ${messageOf(error)}`);
          },
        );
      },
      signal: run.signal,
      onProgress,
    });
    const seconds = spent + (start.seconds ?? 0);
    const tensors = await finish(step);
    ended = true;
    savedAt = undefined;
    await state.remove().catch((error: unknown) => {
      bench.note(`the state of this run stays: ${messageOf(error)}`);
    });
    const evaluation = validation ? await evaluateAll(session, validation, run) : undefined;
    return bench.report(
      { steps: step, seconds, tokensPerSecond: tokens / spent },
      evaluation,
      tensors,
      start.plan?.layers,
    );
  } catch (error) {
    const saves = phase.savesUnfinished && learned;
    // A part of a run is not worth what is there.
    const has = ended ? 'the result' : state.keeps ? 'what it had before' : undefined;
    throw await unfinished(error, { out, savedAt, has, finish: saves ? () => finish(0) : undefined });
  }
}

async function resume(state: TrainingState, session: Session) {
  const { position, state: saved } = await state.read();
  await session.setState(saved);
  return position;
}

interface Unfinished {
  out: string;
  /** The step of the state that it has left. */
  savedAt: number | undefined;
  /** What is there. */
  has: string | undefined;
  /** Saves what it has learned. */
  finish: (() => Promise<unknown>) | undefined;
}

/** What cannot be saved is told; what is not finite has been told already. */
const lossOf = (failure: unknown): LightPeftError | undefined => (isIo(failure) ? failure : undefined);

/** Saves what a stopped run has, and says where. */
async function unfinished(error: unknown, { out, savedAt, has, finish }: Unfinished): Promise<unknown> {
  if (!(error instanceof LightPeftError)) return error;
  const goesOn = savedAt === undefined ? '' : `; --resume goes on from step ${savedAt}`;
  if (error.code === 'IO') return new LightPeftError('IO', `${error.message}${goesOn}`, { cause: error });
  if (!STOPS.includes(error.code)) return error;
  const found = has ?? (await finish?.().then(() => 'what was learned by then', lossOf));
  const kept =
    found === undefined ? '' : `; ${found instanceof Error ? found.message : `${out} has ${found}`}`;
  const next = error.code === 'ABORTED' ? goesOn : '';
  return new LightPeftError(error.code, `${error.message}${kept}${next}`, { cause: error });
}
