import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { LightPeftError, messageOf } from '../errors.ts';
import { fsError } from './exact-read.ts';
import { readHeader, type TensorInfo } from './safetensors.ts';

const WHOLE = 'model.safetensors';
const INDEX = 'model.safetensors.index.json';
const PICKLE = 'pytorch_model.bin';

const bad = (message: string, cause?: unknown) => new LightPeftError('BAD_CHECKPOINT', message, { cause });

/** Not by way of transformers, which would draw a random head for a checkpoint that has none. */
const CONVERSION =
  'python -c "import torch; from safetensors.torch import save_file; ' +
  `d = torch.load('${PICKLE}', map_location='cpu', weights_only=True); ` +
  `save_file({k: v.contiguous().clone() for k, v in d.items()}, '${WHOLE}', metadata={'format': 'pt'})"`;

function noWeights(folder: string, names: readonly string[]): LightPeftError {
  if (names.includes(PICKLE))
    return bad(
      `${folder}: only ${PICKLE} is there, and ${WHOLE} is needed; convert it, in that folder, with: ${CONVERSION}`,
    );
  if (names.includes(`${PICKLE}.index.json`))
    return bad(
      `${folder}: only PyTorch's shards are there; load the model with transformers and save_pretrained() it`,
    );
  return bad(`${folder}: neither ${WHOLE} nor ${INDEX} is there`);
}

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

async function readShards(folder: string): Promise<Map<string, TensorInfo>> {
  const index = join(folder, INDEX);
  const places = await readIndex(index);
  const shards = [...new Set(Object.values(places))].sort();
  for (const shard of shards) checkShardName(index, shard);
  const all = new Map<string, TensorInfo>();
  for (const shard of shards)
    for (const [name, info] of (await readHeader(join(folder, shard))).tensors) {
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
  if (names.includes(WHOLE)) return (await readHeader(join(folder, WHOLE))).tensors;
  if (names.includes(INDEX)) return readShards(folder);
  throw noWeights(folder, names);
}
