import type { AdapterInfo } from './adapter/info.ts';
import { writeLightAdapter } from './adapter/light.ts';
import { writePeftAdapter } from './adapter/peft.ts';
import { writeCheckpoint } from './checkpoint/written.ts';
import type { Dataset } from './data/dataset.ts';
import { begun } from './engine.ts';
import { stepsOf } from './fit.ts';
import { LightPeftError } from './errors.ts';
import type { NamedTensor } from './native.ts';
import { needed, type Options, settle } from './options.ts';
import { checkCut } from './plan-options.ts';
import type { RunOptions } from './run.ts';
import { goingOn } from './going-on.ts';
import { isOfWhole, type Smaller, startSmaller } from './smaller.ts';
import { startHead } from './task-head.ts';
import { taught, teacherOf } from './teacher.ts';
import { type Phase, runTraining } from './training.ts';
import { isSamePlace } from './result-folder.ts';
import type { Report, Workbench } from './workbench.ts';

/** A model that was trained itself, with its head. */
const writeTrained = (
  bench: Workbench,
  out: string,
  tensors: NamedTensor[],
  info: AdapterInfo,
): Promise<void> => {
  const names = info.labels ?? undefined;
  return writeCheckpoint(out, bench.settings.model, bench.family, tensors, {
    told: info.tells,
    ...(names && { names }),
    trained: { unanswerable: info.unanswerable, maxLength: info.maxLength, docStride: info.docStride },
    value: info.tells === 'classes' && names === undefined,
  });
};

const VANILLA: Phase = {
  name: 'vanilla-train',
  async begin(bench, { labels }) {
    const session = bench.session(bench.model, labels, bench.full ? [] : bench.modules());
    return { session: await begun(session, () => startHead(bench, session, labels)) };
  },
  steps: stepsOf,
  async save(bench, out, __, { tensors, info }) {
    if (bench.full) return writeTrained(bench, out, tensors, info);
    await writePeftAdapter(out, tensors, info, bench.family);
  },
  writes: 'peft',
  savesUnfinished: true,
};

/** The base itself. */
const WHOLE: Phase = { ...VANILLA, writes: 'model' };

/** Fine-tunes LoRA on the whole base, or the base itself; writes a Hugging Face PEFT adapter, or a model. */
export const vanillaTrain = (options: Options, run: RunOptions = {}): Promise<Report> =>
  runTraining(options, run, options.peft === 'none' ? WHOLE : VANILLA);

/** Of a long run. */
const FREEZE_TAIL = 0.1;

/** Steps of the estimation that count as the run's first. */
function behindOf({ settings, note }: Workbench, { examples }: Dataset, { estimate, long }: Smaller): number {
  if (!long) return 0;
  const { steps } = estimate.taken!;
  const counts = settings.maxSteps === 0 && !settings.rewind;
  note(
    `a long run: the estimation took ${steps} steps, and this has ${stepsOf(examples.length, settings)}` +
      (counts ? ', for the first of which those stand' : ''),
  );
  return counts ? steps : 0;
}

const LIGHT: Phase<Smaller> = {
  name: 'train',
  async begin(bench, data, run) {
    const { prefixCache } = bench.settings;
    const from = needed(bench.settings, 'from');
    const start = await startSmaller(bench, data, from, { prefixCache });
    const behind = behindOf(bench, data, start);
    Object.assign(start, { behind, identity: { ...start.identity, behind: String(behind) } });
    const adapter = teacherOf(bench.settings, isOfWhole(start.estimate) ? from : undefined);
    if (adapter === undefined) return start;
    await begun(start.session, async () => {
      const { examples, digest } = await taught(bench, data, adapter, run);
      Object.assign(start, { examples, identity: { ...start.identity, teacher: digest } });
    });
    return start;
  },
  steps: stepsOf,
  restFrom: (steps, { freezeTail }, { long }) =>
    steps - Math.floor((freezeTail ?? (long ? FREEZE_TAIL : 0)) * steps),
  writes: 'light',
  save: (_, out, { plan, delta }, { tensors, info }) => writeLightAdapter(out, tensors, plan, info, delta),
  savesUnfinished: true,
};

/**
 * Light-PEFT's second stage: cuts the base and the estimated adapter by a Plan made from the Scores of `from`, goes on
 * training the smaller model, and writes a light adapter. The optimizer starts afresh, or with the estimation's moments
 * (`carryMoments`); the weights are the estimation's, or those from before it (`rewind`). What is cut is what the
 * estimation was for, but for what the options say.
 */
export async function train(options: Options, run: RunOptions = {}): Promise<Report> {
  const settings = settle(options);
  checkCut(settings);
  const { teacher } = settings;
  if (teacher !== undefined && (await isSamePlace(teacher, needed(settings, 'out'))))
    throw new LightPeftError('BAD_OPTION', '--out: the teacher would be overwritten');
  return runTraining(await goingOn(needed(settings, 'from'), options, run), run, LIGHT);
}
