import { isTokenwise } from './data/labels.ts';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { packBatch } from './data/batches.ts';
import type { Dataset } from './data/dataset.ts';
import type { Session } from './engine.ts';
import { median } from './median.ts';
import type { LayerCut } from './native.ts';
import { needed } from './options.ts';
import type { Costs } from './plan/budget.ts';
import { operationCosts } from './plan/costs.ts';
import { writeWhole } from './whole-file.ts';
import type { Workbench } from './workbench.ts';

const ROUNDS = 5;
const FILE = 'step_times.json';
/** Of what an even share of a layer's time would be; noise may measure less, and nothing is free. */
const LEAST = 0.05;

const seconds = z.number().nonnegative();
const COSTS = z.array(z.strictObject({ head: seconds, neuron: seconds, rest: seconds }));

/** Medians of a training step of the whole base and of some cuts of it, in turns. */
async function timed(bench: Workbench, cuts: LayerCut[][], { examples, labels }: Dataset): Promise<number[]> {
  const { threads, batchSize } = bench.settings;
  const batch = packBatch(examples.slice(0, batchSize));
  const sessions: Session[] = [];
  const times: number[][] = [];
  try {
    for (const cut of [undefined, ...cuts]) {
      using small = cut && (await bench.model.cut(cut, { threads }));
      sessions.push(bench.session(small ?? bench.model, labels, bench.modules()));
      times.push([]);
    }
    for (let round = -1; round < ROUNDS; round++)
      for (const [i, session] of sessions.entries()) {
        const started = performance.now();
        await session.step([batch], 0);
        await session.metrics();
        if (round >= 0) times[i]!.push((performance.now() - started) / 1000);
      }
  } finally {
    for (const session of sessions) session.dispose();
  }
  return times.map(median);
}

async function measure(bench: Workbench, data: Dataset): Promise<Costs[]> {
  const { layers, heads, ffn } = bench.checkpoint.spec;
  const first = (n: number) => Array.from({ length: n }, (_, i) => i);
  const cut = (keptHeads: number, keptNeurons: number): LayerCut[] =>
    Array.from({ length: layers }, () => ({ heads: first(keptHeads), neurons: first(keptNeurons) }));
  const [fewHeads, fewNeurons] = [Math.ceil(heads / 2), Math.ceil(ffn / 2)];
  const cuts = [cut(fewHeads, ffn), cut(heads, fewNeurons)];
  const [whole, lessHeads, lessNeurons] = (await timed(bench, cuts, data)) as [number, number, number];
  // Over layers times are shared as operations are.
  const lengths = data.examples.flatMap((example) => example.lengths ?? [example.ids.length]);
  const operations = operationCosts(bench.checkpoint.spec, lengths, { every: isTokenwise(data.labels) });
  const each = (kind: 'head' | 'neuron', less: number, removed: number, units: number) => {
    const sum = operations.reduce((all, layer) => all + layer[kind], 0);
    const time = Math.max((whole - less) / Math.max(1, removed), (LEAST * whole) / units);
    return operations.map((layer) => (time * layer[kind]) / sum);
  };
  const head = each('head', lessHeads, heads - fewHeads, heads);
  const neuron = each('neuron', lessNeurons, ffn - fewNeurons, ffn);
  const sum = (times: number[]) => times.reduce((all, time) => all + time, 0);
  const rest = Math.max(0, whole - heads * sum(head) - ffn * sum(neuron)) / layers;
  const ms = (times: number[], units: number) => `${(1000 * units * sum(times)).toPrecision(3)} ms`;
  bench.note(
    `timed on this machine: of a step's ${(1000 * whole).toPrecision(3)} ms heads take ${ms(head, heads)}, neurons ${ms(neuron, ffn)}`,
  );
  return head.map((time, layer) => ({ head: time, neuron: neuron[layer]!, rest }));
}

/**
 * What a head, a neuron and the rest of a layer add to the time of a training step on this machine, in seconds: from
 * steps over the first batch with the whole base, with half of its heads and with half of its neurons. Kept in `out`, so
 * that a run that is resumed makes the same Plan.
 */
export async function stepTimes(bench: Workbench, data: Dataset): Promise<Costs[]> {
  const file = join(needed(bench.settings, 'out'), FILE);
  if (bench.settings.resume) {
    const text = await readFile(file, 'utf8').catch(() => 'null');
    const known = COSTS.safeParse(JSON.parse(text));
    if (known.success) return known.data;
  }
  const costs = await measure(bench, data);
  await writeWhole(file, [JSON.stringify(costs)]);
  return costs;
}
