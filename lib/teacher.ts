import { createHash } from 'node:crypto';
import { type EncodedExample, inBatches, packBatch } from './data/batches.ts';
import type { Dataset } from './data/dataset.ts';
import { type LabelSet, logitsFor } from './data/labels.ts';
import { LightPeftError } from './errors.ts';
import { load } from './loaded.ts';
import type { Workbench } from './workbench.ts';

const BATCH_SIZE = 64;

/** Examples with what a teacher makes of each, computed once, and a hash of all of that. */
export interface Taught {
  examples: EncodedExample[];
  digest: string;
}

/**
 * @param adapter of the teacher, on the whole base or a part of it
 * @returns undefined where nothing is to be learned from it
 * @throws {LightPeftError} BAD_OPTION: it has other labels than the data
 */
export async function taught(bench: Workbench, data: Dataset, adapter: string): Promise<Taught | undefined> {
  const { distill, distillStates } = bench.settings;
  if (distill === 0 && distillStates === 0) return undefined;
  const started = performance.now();
  const { session, labels } = await load(bench, adapter);
  try {
    const names = (of: LabelSet) =>
      of.kind === 'classes' ? of.names.join(', ') : of.kind === 'choices' ? `${of.count} choices` : 'a value';
    if (names(labels) !== names(data.labels))
      throw new LightPeftError(
        'BAD_OPTION',
        `the teacher ${adapter} tells ${names(labels)}; the data has ${names(data.labels)}`,
      );
    const hash = createHash('sha256');
    const examples: EncodedExample[] = [];
    const width = logitsFor(labels);
    for (const chosen of inBatches(Uint32Array.from(data.examples.keys()), BATCH_SIZE)) {
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
