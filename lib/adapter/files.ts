import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { z } from 'zod';
import { fsError } from '../checkpoint/exact-read.ts';
import { readTensors, type Tensor } from '../checkpoint/safetensors.ts';
import { LightPeftError, messageOf } from '../errors.ts';
import type { NamedTensor } from '../native.ts';
import type { WholeFile } from '../whole-file.ts';

export const PEFT_CONFIG = 'adapter_config.json';
export const PEFT_TENSORS = 'adapter_model.safetensors';
export const LIGHT_PLAN = 'plan.json';
export const LIGHT_TENSORS = 'light_adapter.safetensors';
export const LIGHT_DELTA = 'base_delta.safetensors';
export const INFO = 'light_peft.json';

export const badAdapter = (message: string, cause?: unknown) =>
  new LightPeftError('BAD_ADAPTER', message, { cause });

export const jsonFile = (file: string, value: unknown): WholeFile => ({
  file,
  pieces: [`${JSON.stringify(value, null, 2)}\n`],
});

/** @throws {LightPeftError} BAD_ADAPTER: the file is missing or no JSON */
export async function readJson(file: string): Promise<unknown> {
  try {
    return JSON.parse(await readFile(file, 'utf8')) as unknown;
  } catch (error) {
    if (error instanceof SyntaxError) throw badAdapter(`${file}: not JSON: ${messageOf(error)}`, error);
    const known = fsError(file, error);
    throw known.code === 'BAD_CHECKPOINT' ? badAdapter(known.message, error) : known;
  }
}

/** @throws {LightPeftError} BAD_ADAPTER naming the file and the first field that is wrong */
export function checked<T>(schema: z.ZodType<T>, json: unknown, file: string): T {
  const read = schema.safeParse(json);
  if (read.success) return read.data;
  const [issue] = read.error.issues;
  const where = issue?.path.map(String).join('.');
  throw badAdapter([file, where, issue?.message].filter(Boolean).join(': '), read.error);
}

/** The reader speaks of checkpoints; what it finds wrong here is wrong with the adapter. */
export async function readAdapterTensors(file: string): Promise<Map<string, Tensor>> {
  try {
    return await readTensors(file);
  } catch (error) {
    if (error instanceof LightPeftError && error.code === 'BAD_CHECKPOINT')
      throw badAdapter(error.message, error);
    throw error;
  }
}

/** What an adapter is made of. Masks serve training alone. */
export const withoutMasks = (tensors: readonly NamedTensor[]): NamedTensor[] =>
  tensors.filter(({ name }) => !name.startsWith('masks.'));

/** A LoRA tensor's module and side; undefined for a head's tensor. */
export function loraPart(name: string): { module: string; side: 'A' | 'B' } | undefined {
  const match = /^(.+)\.lora_([AB])\.weight$/.exec(name);
  return match ? { module: match[1]!, side: match[2] as 'A' | 'B' } : undefined;
}

type Shaped = ReadonlyMap<string, { shape: readonly number[] }>;

/**
 * The rank of each LoRA module.
 * @throws {LightPeftError} BAD_ADAPTER: a module lacks one of its two matrices, or they do not fit each other
 */
export function ranksOf(tensors: Shaped, file: string): Map<string, number> {
  const ranks = new Map<string, number>();
  for (const name of tensors.keys()) {
    const part = loraPart(name);
    if (part === undefined || ranks.has(part.module)) continue;
    const [a, b] = ['A', 'B'].map((side) => tensors.get(`${part.module}.lora_${side}.weight`)?.shape);
    if (a?.length !== 2 || b?.length !== 2 || a[0] !== b[1])
      throw badAdapter(`${file}: ${part.module}: lora_A and lora_B are not two matrices of one rank`);
    ranks.set(part.module, a[0]!);
  }
  return ranks;
}

/** @throws {LightPeftError} BAD_ADAPTER: it is not there */
export function checkFolder(folder: string): void {
  if (!existsSync(folder)) throw badAdapter(`${folder}: no such folder`);
}

/**
 * What a folder holds, by the file that is written last, so that an adapter half written is none.
 * @throws {LightPeftError} BAD_ADAPTER: it holds neither kind, or both
 */
export function kindOfAdapter(folder: string): 'peft' | 'light' {
  checkFolder(folder);
  const peft = existsSync(join(folder, PEFT_CONFIG));
  const light = existsSync(join(folder, LIGHT_PLAN));
  if (peft && light)
    throw badAdapter(`${folder}: holds both ${PEFT_CONFIG} and ${LIGHT_PLAN}; keep one adapter per folder`);
  if (!peft && !light)
    throw badAdapter(`${folder}: not an adapter, there is neither ${PEFT_CONFIG} nor ${LIGHT_PLAN}`);
  return peft ? 'peft' : 'light';
}
