import type { Dataset } from './data/dataset.ts';
import { evaluateAll, predictAll } from './evaluation.ts';
import { load } from './loaded.ts';
import { needed, type Options, settle } from './options.ts';
import { noteTruncation, type RunOptions } from './run.ts';
import { type Report, Workbench } from './workbench.ts';

/** Metrics of the validation file. */
export async function evaluate(options: Options, run: RunOptions = {}): Promise<Report> {
  const settings = settle(options);
  using bench = await Workbench.open(settings, run);
  const { session, labels, kept, info } = await load(bench, settings.adapter);
  try {
    const data: Dataset = await bench.readFor(info, needed(settings, 'validationFile'), labels);
    noteTruncation(run, settings.validationFile!, data);
    const evaluation = await evaluateAll(session, data, run);
    const { seconds, tokensPerSecond } = evaluation;
    const trained = await bench.trained(session);
    const report = bench.report({ seconds, tokensPerSecond, steps: 0 }, evaluation, trained, kept);
    // Nothing is written.
    return { ...report, out: null };
  } finally {
    session.dispose();
  }
}

/** What is told of every example of `input`, with logits where it is told as a whole; its label column may be absent. */
export async function predict(options: Options, run: RunOptions = {}): ReturnType<typeof predictAll> {
  const settings = settle(options);
  using bench = await Workbench.open(settings, run);
  const { session, labels, info } = await load(bench, settings.adapter);
  try {
    const data = await bench.readFor(info, needed(settings, 'input'), labels, true);
    noteTruncation(run, settings.input!, data);
    return await predictAll(session, data, run);
  } finally {
    session.dispose();
  }
}
