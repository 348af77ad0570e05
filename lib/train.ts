import { join } from 'node:path';
import { writeLightAdapter } from './adapter/light.ts';
import { writePeftAdapter } from './adapter/peft.ts';
import { stepsOf } from './fit.ts';
import { needed, type Options, settle } from './options.ts';
import { SCORES } from './plan/estimate-file.ts';
import type { RunOptions } from './run.ts';
import { loraOf, type Smaller, startSmaller } from './smaller.ts';
import { startHead } from './task-head.ts';
import { taught } from './teacher.ts';
import { type Phase, runTraining } from './training.ts';
import { removeFile } from './whole-file.ts';
import type { Report } from './workbench.ts';

const VANILLA: Phase = {
  name: 'vanilla-train',
  async begin(bench, { labels }) {
    const session = bench.session(bench.model, labels, bench.modules());
    await startHead(bench, session, labels);
    return { session };
  },
  steps: stepsOf,
  async save(_, out, __, { tensors, info }) {
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

const LIGHT: Phase<Smaller> = {
  name: 'train',
  async begin(bench, data) {
    const { prefixCache, teacher } = bench.settings;
    const from = needed(bench.settings, 'from');
    const lessons = await taught(bench, data, teacher ?? from);
    const start = await startSmaller(bench, data, from, { prefixCache });
    if (!lessons) return start;
    const identity = { ...start.identity, teacher: lessons.digest };
    return { ...start, identity, examples: lessons.examples };
  },
  steps: stepsOf,
  writes: 'light',
  save: (_, out, { plan, delta }, { tensors, info }) => writeLightAdapter(out, tensors, plan, info, delta),
  savesUnfinished: true,
};

/**
 * Light-PEFT's second stage: cuts the base and the estimated adapter by a Plan made from the Scores of `from`, goes on
 * training the smaller model, and writes a light adapter. The optimizer starts afresh, or with the estimation's moments
 * (`carryMoments`); the weights are the estimation's, or those from before it (`rewind`).
 */
export const train = async (options: Options, run: RunOptions = {}): Promise<Report> =>
  runTraining({ ...options, ...(await loraOf(needed(settle(options), 'from'))) }, run, LIGHT);
