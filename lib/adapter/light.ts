import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { readHeader, safetensorsFile, type Tensor } from '../checkpoint/safetensors.ts';
import { LightPeftError } from '../errors.ts';
import type { NamedTensor } from '../native.ts';
import { parsePlan, type Plan } from '../plan/plan.ts';
import { makeFolder, readWhole } from '../result-folder.ts';
import { writeTogether } from '../whole-file.ts';
import * as files from './files.ts';
import { type BaseDelta, checkDelta, digestOf } from './delta.ts';
import { badAdapter } from './files.ts';
import { infoFile, readInfo, type AdapterInfo } from './info.ts';

export interface LightAdapter {
  info: AdapterInfo;
  plan: Plan;
  /** The cut LoRA tensors and the head's. */
  tensors: Map<string, Tensor>;
  /** null: the base's kept weights are as they were. */
  delta: Map<string, Tensor> | null;
}

type Shaped = ReadonlyMap<string, { shape: readonly number[] }>;

function checkTensors(tensors: Shaped, plan: Plan, file: string): void {
  const ranks = files.ranksOf(tensors, file);
  for (const { name, ranks: kept } of plan.modules) {
    if (ranks.get(name) !== kept.length)
      throw badAdapter(`${file}: ${name} is of rank ${ranks.get(name) ?? 0}, the plan says ${kept.length}`);
    ranks.delete(name);
  }
  const [extra] = ranks.keys();
  if (extra !== undefined) throw badAdapter(`${file}: ${extra} is not in the plan`);
}

function checkBase(plan: Plan, info: AdapterInfo, file: string): void {
  if (plan.fingerprint !== info.fingerprint)
    throw new LightPeftError('BAD_PLAN', `${file}: the plan was made for another base than the adapter`);
}

/**
 * Writes an adapter for the pruned base: small, and of use only together with its plan.
 * @param tensors already cut by `plan`
 * @throws {LightPeftError} BAD_ADAPTER, BAD_PLAN: what would be written could not be read
 */
export async function writeLightAdapter(
  folder: string,
  tensors: NamedTensor[],
  plan: Plan,
  info: AdapterInfo,
  delta?: BaseDelta,
): Promise<void> {
  const weights = join(folder, files.LIGHT_TENSORS);
  const change = join(folder, files.LIGHT_DELTA);
  const named = new Map(files.withoutMasks(tensors).map((tensor) => [tensor.name, tensor]));
  checkBase(plan, info, folder);
  checkTensors(named, plan, weights);
  if (delta) checkDelta(delta, plan, change);
  await makeFolder(folder);
  await writeTogether([
    infoFile(folder, info),
    safetensorsFile(weights, named, { format: 'pt', delta: delta ? digestOf(delta) : 'none' }),
    // One that an earlier adapter left would be taken for this one's.
    delta ? safetensorsFile(change, delta, { format: 'pt' }) : { file: change, pieces: null },
    files.jsonFile(join(folder, files.LIGHT_PLAN), plan),
  ]);
}

/** @throws {LightPeftError} BAD_ADAPTER; BAD_PLAN: plan.json is malformed or was made for another base */
export const readLightAdapter = (folder: string): Promise<LightAdapter> =>
  readWhole(folder, files.LIGHT_PLAN, () => readAtOnce(folder));

async function readAtOnce(folder: string): Promise<LightAdapter> {
  files.checkFolder(folder);
  if (!existsSync(join(folder, files.LIGHT_PLAN)))
    throw badAdapter(
      `${folder}: there is no plan here (${files.LIGHT_PLAN}); train writes adapters that have one`,
    );
  const plan = parsePlan(await files.readJson(join(folder, files.LIGHT_PLAN)));
  const info = await readInfo(folder);
  checkBase(plan, info, join(folder, files.LIGHT_PLAN));
  const weights = join(folder, files.LIGHT_TENSORS);
  const tensors = await files.readAdapterTensors(weights);
  checkTensors(tensors, plan, weights);
  const change = join(folder, files.LIGHT_DELTA);
  const { metadata } = await readHeader(weights);
  if (metadata['delta'] === 'none') return { info, plan, tensors, delta: null };
  const delta = await files.readAdapterTensors(change);
  checkDelta(delta, plan, change);
  if (digestOf(delta) !== metadata['delta'])
    throw badAdapter(`${change}: the base's changes are another adapter's than ${weights}`);
  return { info, plan, tensors, delta };
}
