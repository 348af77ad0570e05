/** One of our own contenders: see contender.ts for how it is spoken to. */
import { createInterface } from 'node:readline';
import { openCheckpoint } from '../../lib/checkpoint/folder.ts';
import { type PackedBatch, packBatch } from '../../lib/data/batches.ts';
import { Random } from '../../lib/data/random.ts';
import { Model, Session } from '../../lib/engine.ts';
import { peakMemoryOf } from '../../lib/device.ts';
import { headConfig } from '../../lib/head-config.ts';
import { type ModuleConfig, PLAIN_SESSION } from '../../lib/native.ts';
import { sitesOf } from '../../lib/checkpoint/spec.ts';
import { type Lengths, VOCAB } from './shapes.ts';
import type { Work } from './work.ts';

const work = JSON.parse(process.argv[2]!) as Work;

/** Random tokens between the two special ones. */
function batchOf(lengths: Lengths, seed: number): PackedBatch {
  const random = new Random(seed);
  return packBatch(
    lengths.map((n, idx) => ({
      ids: Int32Array.from({ length: n }, (_, i) =>
        i === 0 ? 0 : i === n - 1 ? 2 : 5 + random.below(VOCAB - 5),
      ),
      typeIds: new Int32Array(n),
      truncated: false,
      idx,
      label: idx % 2,
    })),
  );
}

const checkpoint = await openCheckpoint(work.folder);
using whole = await Model.load(checkpoint, {
  dtype: 'bfloat16',
  threads: work.threads,
  device: work.device,
});
const range = (n: number) => Array.from({ length: n }, (_, i) => i);
const kept = work.layers.map(({ heads, neurons }) => ({ heads: range(heads), neurons: range(neurons) }));
const cut = work.light ? await whole.cut(kept, { threads: work.threads }) : undefined;
const model = cut ?? whole;
if (cut) whole.dispose();
const modules: ModuleConfig[] = work.layers.flatMap(({ ranks }, layer) =>
  ranks.flatMap((rank, s) => {
    const site = sitesOf(checkpoint.spec)[s]!;
    const name = model.moduleName(layer, site);
    return rank > 0 ? [{ name, layer, site, rank, scale: 2, dropout: work.loraDropout }] : [];
  }),
);
const learned = work.kind === 'estimate-paper';
const masks = work.kind === 'estimate' || learned;
const session = new Session(
  model,
  {
    ...PLAIN_SESSION,
    head: headConfig(checkpoint.spec, 2),
    modules,
    masks,
    headMaskRate: Number(learned),
    neuronMaskRate: Number(learned),
    l1Heads: learned ? 1e-4 : 0,
    l1Neurons: learned ? 1e-4 : 0,
    maxGradNorm: 1,
    ratios: work.kind === 'estimate-paper',
    graphs: work.graphs,
  },
  { threads: work.threads },
);
const batches = work.batches.map(batchOf);
const padded = work.batches.reduce((sum, lengths) => sum + lengths.length * Math.max(...lengths), 0);

// Estimation scores the second half of its steps.
let measured = 0;
let activationBytes = 0;

async function measure() {
  const started = performance.now();
  for (let repeat = 0; repeat < work.repeats; repeat++) {
    for (const [i, batch] of batches.entries())
      if (work.kind === 'inference') await session.evaluate(batch);
      else await session.step([batch], 3e-4, { score: masks && (measured + i) % 2 === 1 });
    measured++;
  }
  // Which waits for the device, too.
  const { loss, steps, ...metrics } = await session.metrics();
  activationBytes = metrics.activationBytes;
  return {
    seconds: (performance.now() - started) / 1000 / work.repeats,
    tokens: batches.reduce((sum, { ids }) => sum + ids.length, 0),
    paddedTokens: padded,
    loss: loss / steps,
  };
}

const tell = (answer: unknown) => process.stdout.write(`${JSON.stringify(answer)}\n`);
await measure();
await measure();
tell('ready');
for await (const line of createInterface({ input: process.stdin })) {
  if (line === 'end') {
    // The process's memory says nothing of a GPU's.
    const peakMemoryBytes = peakMemoryOf(model.device);
    tell({ peakMemoryBytes, activationBytes });
    break;
  }
  tell(await measure());
}
session.dispose();
model.dispose();
process.exit(0);
