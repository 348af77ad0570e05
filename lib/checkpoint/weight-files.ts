import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { LightPeftError, messageOf } from '../errors.ts';
import { fsError } from './exact-read.ts';
import { readHeader, type TensorInfo } from './safetensors.ts';
import { readTorchFile } from './torch-file.ts';

/** A way in which weights are written, best first. */
interface Form {
  whole: string;
  index: string;
  read: (file: string) => Promise<Map<string, TensorInfo>>;
}

const FORMS: readonly Form[] = [
  {
    whole: 'model.safetensors',
    index: 'model.safetensors.index.json',
    read: async (file) => (await readHeader(file)).tensors,
  },
  { whole: 'pytorch_model.bin', index: 'pytorch_model.bin.index.json', read: readTorchFile },
];

const bad = (message: string, cause?: unknown) => new LightPeftError('BAD_CHECKPOINT', message, { cause });

const INDEX_FIELDS = z.object({ weight_map: z.record(z.string(), z.string()) });

async function readIndex(file: string): Promise<Record<string, string>> {
  const text = await readFile(file, 'utf8').catch((error: unknown) => {
    throw fsError(file, error);
  });
  try {
    const read = INDEX_FIELDS.safeParse(JSON.parse(text));
    if (read.success) return read.data.weight_map;
  } catch (error) {
    throw bad(`${file}: ${messageOf(error)}`, error);
  }
  throw bad(`${file}: weight_map is not an object of file names`);
}

/** A link to elsewhere is as good as a file, since the Hub's cache is made of these; a path is not. */
function checkShardName(index: string, shard: string): void {
  if (/[/\\\0]/.test(shard) || shard === '' || shard === '.' || shard === '..')
    throw bad(`${index}: the shard ${JSON.stringify(shard)} is not the name of a file in this folder`);
}

async function readShards(folder: string, { index: name, read }: Form): Promise<Map<string, TensorInfo>> {
  const index = join(folder, name);
  const places = await readIndex(index);
  const shards = [...new Set(Object.values(places))].sort();
  for (const shard of shards) checkShardName(index, shard);
  const all = new Map<string, TensorInfo>();
  for (const shard of shards)
    for (const [name, info] of await read(join(folder, shard))) {
      const other = all.get(name);
      if (other !== undefined) throw bad(`${info.file}: ${name} is also in ${other.file}`);
      all.set(name, info);
    }
  for (const [name, shard] of Object.entries(places))
    if (all.get(name)?.file !== join(folder, shard)) throw bad(`${index}: ${name} is not in ${shard}`);
  return all;
}

/** The tensors of a checkpoint in one file or in shards, by the names that the files have for them. */
export async function readWeightFiles(folder: string): Promise<Map<string, TensorInfo>> {
  const names = await readdir(folder).catch((error: unknown) => {
    throw fsError(folder, error);
  });
  for (const form of FORMS) {
    if (names.includes(form.whole)) return form.read(join(folder, form.whole));
    if (names.includes(form.index)) return readShards(folder, form);
  }
  throw bad(`${folder}: there is none of ${FORMS.flatMap(({ whole, index }) => [whole, index]).join(', ')}`);
}
