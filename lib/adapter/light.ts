import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { readTensors, type Tensor, writeSafetensors } from '../checkpoint/safetensors.ts';
import type { NamedTensor } from '../native.ts';
import { parsePlan, type Plan } from '../plan/plan.ts';
import { type AdapterInfo, readInfo, readJson, writeInfo, writeJson } from './info.ts';

// Names that Python's peft does not know: cut tensors do not fit its base, and it must not load a part of them.
const TENSORS = 'light_adapter.safetensors';

/** The cut PEFT tensors, the task head and the Plan that says what of the base they belong to. */
export async function writeLightAdapter(
  folder: string,
  tensors: NamedTensor[],
  plan: Plan,
  info: AdapterInfo,
): Promise<void> {
  await mkdir(folder, { recursive: true });
  await writeSafetensors(
    join(folder, TENSORS),
    new Map(tensors.map(({ name, shape, data }) => [name, { shape, data }])),
  );
  await writeInfo(folder, info);
  // Last, as it is what makes the folder an adapter.
  await writeJson(join(folder, 'plan.json'), plan);
}

export interface LightAdapter {
  plan: Plan;
  info: AdapterInfo;
  tensors: Map<string, Tensor>;
}

/** @throws {LightPeftError} BAD_ADAPTER or BAD_PLAN */
export async function readLightAdapter(folder: string): Promise<LightAdapter> {
  return {
    plan: parsePlan(await readJson(join(folder, 'plan.json'))),
    info: await readInfo(folder),
    tensors: await readTensors(join(folder, TENSORS)),
  };
}
