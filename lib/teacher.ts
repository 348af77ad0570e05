import { createHash } from 'node:crypto';
import { type EncodedExample, inBatches, packBatch } from './data/batches.ts';
import type { Dataset } from './data/dataset.ts';
import { type LabelSet, logitsFor } from './data/labels.ts';
import { LightPeftError } from './errors.ts';
import { EVALUATION_BATCH } from './evaluation-batches.ts';
import { load } from './loaded.ts';
import type { Settings } from './options.ts';
import type { RunOptions } from './run.ts';
import type { Workbench } from './workbench.ts';

/** Examples with what a teacher makes of each, computed once, and a hash of all of that. */
export interface Taught {
  examples: EncodedExample[];
  digest: string;
}

/**
 * The adapter of the teacher; undefined where nothing is to be learned from one.
 * @param whole the adapter that was trained on the whole base, if there is one
 * @throws {LightPeftError} BAD_OPTION: there is none, or one is named for nothing
 */
export function teacherOf(
  { distill, distillStates, teacher }: Settings,
  whole: string | undefined,
): string | undefined {
  const bad = (message: string) => new LightPeftError('BAD_OPTION', message);
  if (distill === 0 && distillStates === 0) {
    if (teacher !== undefined)
      throw bad('--teacher: nothing is learned from it without --distill or --distill-states');
    return undefined;
  }
  const found = teacher ?? whole;
  if (found === undefined)
    throw bad(
      '--distill: the last estimate was made of a smaller model; --teacher must name an adapter of the whole',
    );
  return found;
}

const shown = (of: LabelSet): string => {
  if (of.kind === 'classes') return of.names.join(', ');
  return of.kind === 'choices' ? `${of.count} choices` : 'a value';
};

/**
 * @param adapter of the teacher, on the whole base or a part of it
 * @throws {LightPeftError} BAD_OPTION: it has other labels than the data; ABORTED
 */
export async function taught(
  bench: Workbench,
  data: Dataset,
  adapter: string,
  { signal }: RunOptions,
): Promise<Taught> {
  const { distillStates } = bench.settings;
  const started = performance.now();
  const { session, labels, info } = await load(bench, adapter);
  try {
    const own: LabelSet = info?.labels ? { kind: 'classes', names: info.labels } : labels;
    if (shown(own) !== shown(data.labels))
      throw new LightPeftError(
        'BAD_OPTION',
        `the teacher ${adapter} tells ${shown(own)}; the data has ${shown(data.labels)}`,
      );
    const hash = createHash('sha256');
    const examples: EncodedExample[] = [];
    const width = logitsFor(labels);
    for (const chosen of inBatches(Uint32Array.from(data.examples.keys()), EVALUATION_BATCH)) {
      if (signal?.aborted) throw new LightPeftError('ABORTED', 'stopped while the teacher was asked');
      const texts = [...chosen].map((i) => data.examples[i]!);
      const { logits, states } = await session.evaluate(packBatch(texts), { states: distillStates > 0 });
      hash.update(logits);
      const hidden = (states?.length ?? 0) / texts.length;
      for (const [i, text] of texts.entries())
        examples.push({
          ...text,
          teacherLogits: logits.subarray(i * width, (i + 1) * width),
          teacherStates: states?.subarray(i * hidden, (i + 1) * hidden),
        });
    }
    const seconds = (performance.now() - started) / 1000;
    bench.note(`the teacher took ${seconds.toFixed(1)} s for ${examples.length} texts`);
    return { examples, digest: hash.digest('hex') };
  } finally {
    session.dispose();
  }
}
