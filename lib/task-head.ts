import { readTensors, type Tensor } from './checkpoint/safetensors.ts';
import type { Checkpoint } from './checkpoint/folder.ts';

/** The checkpoint's own task head, by the names that the engine has for its parameters; empty where it has none. */
export async function taskHeadOf({ head }: Checkpoint): Promise<Map<string, Tensor>> {
  const own = new Map<string, Tensor>();
  for (const file of new Set([...head.values()].map((info) => info.file)))
    for (const [name, tensor] of await readTensors(file, (each) => head.has(each))) own.set(name, tensor);
  return own;
}

/** How many outputs a head has. */
export const outputsOf = (head: ReadonlyMap<string, { shape: readonly number[] }>): number | undefined =>
  head.get('classifier.out_proj.bias')?.shape[0];
