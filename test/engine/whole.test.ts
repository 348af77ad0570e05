import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { FAMILIES } from '../../lib/checkpoint/families.ts';
import { openCheckpoint } from '../../lib/checkpoint/folder.ts';
import { readTensors, writeSafetensors } from '../../lib/checkpoint/safetensors.ts';
import { TOLD, type Told } from '../../lib/checkpoint/spec.ts';
import { type EncodedExample, type PackedBatch, packBatch } from '../../lib/data/batches.ts';
import { Model, Session } from '../../lib/engine.ts';
import { headConfig } from '../../lib/head-config.ts';
import { headOf } from '../../lib/head-tensors.ts';
import { PLAIN_SESSION, type SessionConfig } from '../../lib/native.ts';
import { fixture } from './truth.ts';

type Kind = Told | 'masked' | 'next';
interface Truth {
  inputs: number[][];
  heads: Record<
    string,
    { labels: number[] | number[][]; loss: number; gradients: Record<string, [number, number]> }
  >;
}

const ARCHITECTURE: Record<Kind, string> = {
  classes: 'XForSequenceClassification',
  choices: 'XForMultipleChoice',
  tags: 'XForTokenClassification',
  spans: 'XForQuestionAnswering',
  masked: 'XForMaskedLM',
  next: 'XForCausalLM',
};
const UNTOLD = -100;

const CASES = readdirSync(fixture('whole'))
  .filter((name) => name.endsWith('.json'))
  .map((name) => name.replace('.json', ''));

const truthOf = (name: string) => JSON.parse(readFileSync(fixture('whole', `${name}.json`), 'utf8')) as Truth;
const familyOf = (name: string) =>
  FAMILIES.get(
    (JSON.parse(readFileSync(fixture(name, 'base', 'config.json'), 'utf8')) as { model_type: string })
      .model_type,
  )!;

/** A folder with the recorded base and one of its heads. */
async function folderOf(name: string, kind: Kind): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'light-peft-whole-'));
  cpSync(fixture(name, 'base', 'config.json'), join(folder, 'config.json'));
  const config = JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8')) as Record<string, unknown>;
  // Of their own number of labels the other heads' configs say nothing.
  if (kind !== 'classes') for (const name of ['id2label', 'label2id']) delete config[name];
  writeFileSync(
    join(folder, 'config.json'),
    JSON.stringify({ ...config, architectures: [ARCHITECTURE[kind]] }),
  );
  const family = familyOf(name);
  const base = await readTensors(fixture(name, 'base', 'model.safetensors'));
  const pooler = (tensor: string) => tensor.includes('.pooler.');
  const tensors = [...base].filter(
    ([tensor]) => kind === 'classes' || pooler(tensor) || family.placeOf(tensor).part !== 'head',
  );
  const more = await readTensors(fixture('whole', `${name}.safetensors`));
  for (const [tensor, value] of more)
    if (tensor.startsWith(`${kind}.`)) tensors.push([tensor.slice(kind.length + 1), value]);
  await writeSafetensors(join(folder, 'model.safetensors'), new Map(tensors), { format: 'pt' });
  return folder;
}

function batchOf({ inputs, heads }: Truth, kind: Kind): PackedBatch {
  const { labels } = heads[kind]!;
  const examples = inputs.map((ids, idx): EncodedExample => {
    const label = labels[idx];
    return {
      ids: Int32Array.from(ids),
      typeIds: new Int32Array(ids.length),
      truncated: false,
      idx,
      label: typeof label === 'number' ? label : NaN,
      ...((kind === 'tags' || kind === 'masked') && { tokenLabels: Int32Array.from(label as number[]) }),
      // transformers shifts them itself.
      ...(kind === 'next' && { tokenLabels: Int32Array.from([...(label as number[]).slice(1), UNTOLD]) }),
      ...(kind === 'spans' && { spans: label as [number, number] }),
    };
  });
  if (kind !== 'choices') return packBatch(examples);
  const paired = examples.slice(0, labels.length * 2);
  return { ...packBatch(paired), labels: Float32Array.from(labels as number[]) };
}

async function configOf(
  checkpoint: Awaited<ReturnType<typeof openCheckpoint>>,
  kind: Kind,
): Promise<SessionConfig> {
  const outputs = (await headOf(checkpoint)).get('classifier.out_proj.weight')?.shape[0] ?? 1;
  return {
    ...PLAIN_SESSION,
    full: true,
    told:
      kind === 'masked' || kind === 'next'
        ? 'tokens'
        : kind === 'classes' || kind === 'choices'
          ? 'labels'
          : kind,
    choices: kind === 'choices' ? 2 : 1,
    head: { ...headConfig(checkpoint.spec, outputs), dropout: 0 },
    regression: kind === 'classes' && outputs === 1,
  };
}

/** As the recorder sums a gradient up; `shape` where the file has it the other way round. */
function summaryOf(data: Float32Array, shape: readonly number[], transposed: boolean): [number, number] {
  const [rows = 1, columns = 1] = shape;
  let [square, wave] = [0, 0];
  for (let i = 0; i < data.length; i++) {
    const place = transposed ? (i % columns) * rows + Math.floor(i / columns) : i;
    square += data[i]! ** 2;
    wave += data[i]! * Math.cos(0.7 * place + 0.3);
  }
  return [Math.sqrt(square), wave];
}

for (const name of CASES)
  describe(`${name}, trained as a whole in fp32, is what transformers computes`, () => {
    const truth = truthOf(name);
    for (const kind of Object.keys(truth.heads) as Kind[]) {
      if (TOLD.includes(kind as Told) && !familyOf(name).tells.includes(kind as Told)) continue;
      it(`where it tells ${kind}`, async () => {
        const folder = await folderOf(name, kind);
        const checkpoint = await openCheckpoint(folder);
        using model = await Model.load(checkpoint, { dtype: 'float32', threads: 2 });
        using session = new Session(model, await configOf(checkpoint, kind), { threads: 2 });
        if (checkpoint.spec.told === kind)
          await session.setTensors(
            [...(await headOf(checkpoint))].map(([site, { data }]) => ({ name: site, data })),
          );
        await session.step([batchOf(truth, kind)], 0);
        const { loss } = await session.metrics();
        const { loss: wanted, gradients } = truth.heads[kind]!;
        expect(Math.abs(loss / wanted - 1)).below(1e-5);
        const seen = new Set<string>();
        for (const { name: site, shape, data } of await session.tensors('gradient')) {
          const tensor = checkpoint.family.tensorOf(site)!;
          const [norm, wave] = summaryOf(data, shape, checkpoint.family.isTransposed(site));
          // Such as what nothing reads.
          const [wantedNorm, wantedWave] = gradients[tensor] ?? [0, 0];
          expect(Math.abs(norm - wantedNorm), `${tensor}: ${norm}, ${wantedNorm}`).below(
            1e-4 * wantedNorm + 1e-6,
          );
          expect(Math.abs(wave - wantedWave), `${tensor}: ${wave}, ${wantedWave}`).below(
            1e-4 * wantedNorm + 1e-6,
          );
          seen.add(tensor);
        }
        expect(Object.keys(gradients).filter((tensor) => !seen.has(tensor))).deep.equal([]);
        rmSync(folder, { recursive: true });
      });
    }
  });

for (const [name, kind] of [
  ['roberta-odd', 'masked'],
  ['electra-tiny', 'classes'],
  ['gpt2-odd', 'next'],
  ['gptj-tiny', 'next'],
  ['llama-tiny', 'tags'],
] as const)
  describe(`${name}, trained as a whole in bf16`, () => {
    it('learns in the direction in which it does in fp32', async () => {
      const truth = truthOf(name);
      const folder = await folderOf(name, kind);
      const checkpoint = await openCheckpoint(folder);
      const gradients = async (dtype: 'float32' | 'bfloat16') => {
        using model = await Model.load(checkpoint, { dtype, threads: 2 });
        using session = new Session(model, await configOf(checkpoint, kind), { threads: 2 });
        await session.step([batchOf(truth, kind)], 0);
        const { loss } = await session.metrics();
        return { loss, tensors: await session.tensors('gradient') };
      };
      const [exact, found] = [await gradients('float32'), await gradients('bfloat16')];
      expect(Math.abs(found.loss / exact.loss - 1)).below(0.03);
      let [dot, square, other] = [0, 0, 0];
      for (const [i, { data }] of exact.tensors.entries())
        for (const [j, value] of data.entries()) {
          const rounded = found.tensors[i]!.data[j]!;
          dot += value * rounded;
          square += value ** 2;
          other += rounded ** 2;
        }
      expect(dot / Math.sqrt(square * other)).above(0.99);
      rmSync(folder, { recursive: true });
    });
  });
