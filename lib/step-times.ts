import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { type EncodedExample, packBatch } from './data/batches.ts';
import type { LayerCut } from './native.ts';
import type { Costs } from './plan/budget.ts';
import { writeWhole } from './whole-file.ts';
import type { Workbench } from './workbench.ts';

const ROUNDS = 5;
const FILE = 'step_times.json';

const seconds = z.number().nonnegative();
const SCHEMA = z.object({
  of: z.string(),
  costs: z.strictObject({ head: seconds, neuron: seconds, rest: seconds }),
});

const median = (values: number[]) => values.sort((a, b) => a - b)[values.length >> 1]!;

/** Medians of a training step of the whole base and of two cuts of it, in turns. */
async function timed(
  bench: Workbench,
  cuts: LayerCut[][],
  examples: readonly EncodedExample[],
): Promise<number[]> {
  const { threads, batchSize } = bench.settings;
  const batch = packBatch(examples.slice(0, batchSize).map((example) => ({ ...example, label: 0 })));
  const labels = { kind: 'regression' } as const;
  const sessions = [bench.session(bench.model, labels, bench.modules())];
  for (const cut of cuts) {
    using model = await bench.model.cut(cut, { threads });
    sessions.push(bench.session(model, labels, bench.modules()));
  }
  const times: number[][] = sessions.map(() => []);
  for (let round = -1; round < ROUNDS; round++)
    for (const [i, session] of sessions.entries()) {
      const started = performance.now();
      await session.step([batch], 0);
      await session.metrics();
      if (round >= 0) times[i]!.push((performance.now() - started) / 1000);
    }
  for (const session of sessions) session.dispose();
  return times.map(median);
}

/**
 * What a head, a neuron and the rest of a layer add to the time of a training step on this machine, in seconds: from
 * steps over the first batch with the whole base, with half of its heads and with half of its neurons. Measured once
 * for an estimate, so that a run that is resumed makes the same Plan, and kept beside it.
 */
export async function stepTimes(bench: Workbench, examples: readonly EncodedExample[]): Promise<Costs> {
  const { settings, checkpoint, model } = bench;
  const { layers, heads, ffn } = checkpoint.spec;
  const { batchSize, threads, loraR, targetModules } = settings;
  const tokens = examples.slice(0, batchSize).reduce((sum, { ids }) => sum + ids.length, 0);
  const of = JSON.stringify({
    ...{ base: checkpoint.fingerprint, dtype: model.dtype, batchSize, tokens, threads, loraR, targetModules },
  });
  const file = join(settings.from ?? settings.out ?? '.', FILE);
  const known = SCHEMA.safeParse(
    await readFile(file, 'utf8').then(
      (text) => JSON.parse(text) as unknown,
      () => null,
    ),
  );
  if (known.success && known.data.of === of) return known.data.costs;
  const first = (n: number) => Array.from({ length: n }, (_, i) => i);
  const cut = (keptHeads: number, keptNeurons: number): LayerCut[] =>
    Array.from({ length: layers }, () => ({ heads: first(keptHeads), neurons: first(keptNeurons) }));
  const fewHeads = Math.ceil(heads / 2);
  const fewNeurons = Math.ceil(ffn / 2);
  const [whole, lessHeads, lessNeurons] = (await timed(
    bench,
    [cut(fewHeads, ffn), cut(heads, fewNeurons)],
    examples,
  )) as [number, number, number];
  const each = (less: number, removed: number) => Math.max(0, whole - less) / (layers * Math.max(1, removed));
  const head = each(lessHeads, heads - fewHeads);
  const neuron = each(lessNeurons, ffn - fewNeurons);
  const rest = Math.max(0, whole / layers - heads * head - ffn * neuron);
  const costs = { head, neuron, rest };
  await writeWhole(file, [JSON.stringify({ of, costs })]);
  return costs;
}
