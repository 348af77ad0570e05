import { readFile } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { LightPeftError } from '../errors.ts';
import type { NamedTensor } from '../native.ts';
import { makeFolder } from '../result-folder.ts';
import { ioError, type WholeFile, writeTogether } from '../whole-file.ts';
import { CONFIG, readConfig, type Trained } from './config.ts';
import type { Family } from './families.ts';
import { safetensorsFile } from './safetensors.ts';
import type { Told } from './spec.ts';

/** A key of the config.json of models that were written here. */
export const OWN = 'light_peft';
const WEIGHTS = 'model.safetensors';

/** What belongs to a tokenizer, and how a decoder generates. */
const BESIDE = [
  ...['tokenizer.json', 'tokenizer_config.json', 'special_tokens_map.json', 'added_tokens.json'],
  ...['vocab.json', 'merges.txt', 'vocab.txt', 'tokenizer.model', 'sentencepiece.bpe.model', 'spiece.model'],
  ...['chat_template.jinja', 'generation_config.json'],
];

/** What a written model tells. */
export interface Telling {
  told: Told | 'tokens';
  /** Names of classes or tags. */
  names?: readonly string[];
  /** Whether it tells a value. */
  value?: boolean;
  /** How its texts were read. */
  trained?: Trained;
}

type Placed = Pick<NamedTensor, 'shape' | 'data'>;

/** As a file has it: its columns for rows, where that is how the family writes it. */
function turned({ shape, data }: NamedTensor): Placed {
  const [rows, columns] = shape as [number, number];
  const other = new Float32Array(data.length);
  for (let i = 0; i < rows; i++)
    for (let j = 0; j < columns; j++) other[j * rows + i] = data[i * columns + j]!;
  return { shape: [columns, rows], data: other };
}

const labelsOf = ({ names, value }: Telling): Record<string, unknown> => {
  if (value) return { id2label: { 0: 'LABEL_0' }, label2id: { LABEL_0: 0 }, problem_type: 'regression' };
  if (!names) return {};
  return {
    id2label: Object.fromEntries(names.map((name, i) => [i, name])),
    label2id: Object.fromEntries(names.map((name, i) => [name, i])),
    problem_type: null,
  };
};

/**
 * Writes a model whose weights were trained, in fp32, as a folder that transformers reads: what `source` has beside its
 * weights, and these.
 * @param tensors by site
 */
export async function writeCheckpoint(
  folder: string,
  source: string,
  family: Family,
  tensors: readonly NamedTensor[],
  telling: Telling,
): Promise<void> {
  const { json: config } = await readConfig(join(source, CONFIG));
  const { id2label, label2id, num_labels, problem_type, torch_dtype, ...rest } = config;
  const heir = telling.told === 'tokens' ? { id2label, label2id, num_labels, problem_type } : {};
  const written = {
    ...rest,
    ...heir,
    ...labelsOf(telling),
    // transformers keeps what it does not know. It also says that the folder may be written over.
    [OWN]: telling.trained ?? {},
    architectures: [family.architecture(telling.told)],
    dtype: 'float32',
    ...(torch_dtype !== undefined && { torch_dtype: 'float32' }),
  };
  await makeFolder(folder);
  const named = new Map(
    tensors.map((tensor): [string, Placed] => [
      family.tensorOf(tensor.name)!,
      family.isTransposed(tensor.name) ? turned(tensor) : tensor,
    ]),
  );
  const beside = BESIDE.map(async (name): Promise<WholeFile> => {
    const from = join(source, name);
    return { file: join(folder, name), pieces: existsSync(from) ? [await readFile(from)] : null };
  });
  await writeTogether([
    safetensorsFile(join(folder, WEIGHTS), named, { format: 'pt' }),
    ...(await Promise.all(beside)),
    { file: join(folder, CONFIG), pieces: [`${JSON.stringify(written, null, 2)}\n`] },
  ]);
}

/** @throws {LightPeftError} BAD_OPTION: the folder has a model that was not written here */
export async function checkOwn(folder: string): Promise<void> {
  const file = join(folder, CONFIG);
  if (!existsSync(file)) return;
  const own = await readFile(file, 'utf8').then(
    (text) => text.includes(`"${OWN}"`),
    (error: unknown) => {
      throw ioError(file, error);
    },
  );
  if (!own) throw new LightPeftError('BAD_OPTION', `${folder} holds a model that was not written here`);
}
