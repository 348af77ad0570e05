import { stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { LightPeftError, messageOf } from '../errors.ts';
import { CONFIG, readConfig, type Trained } from './config.ts';
import type { Family } from './families.ts';
import { fingerprintOf } from './fingerprint.ts';
import { type BaseTensor, findSites, type HeadTensor } from './sites.ts';
import type { Spec, Told } from './spec.ts';
import { readWeightFiles } from './weight-files.ts';

/** A model as Hugging Face's tools leave it in a folder. Weights stay in their files. */
export interface Checkpoint {
  folder: string;
  /** With the names of the head that the spec has. */
  family: Family;
  spec: Spec;
  /** What the checkpoint's own head tells; null: it has none, or nothing says. */
  own: Told | null;
  /** Names of the classes, by number; null where config.json has none. */
  labels: string[] | null;
  problemType: string | null;
  /** What this library wrote of a model that it trained. */
  trained: Trained;
  /** The base's weights, by site. */
  tensors: Map<string, BaseTensor>;
  /** The head's, by site; empty where there is none that tells what is asked for. */
  head: Map<string, HeadTensor>;
  /** Names of the tensors that the engine has no use for. */
  ignored: string[];
  /** Equal for equal bases; says nothing of the head. */
  fingerprint: string;
}

const HUB_ID = /^\w[\w.-]*(\/\w[\w.-]*)?$/;

function notThere(path: string, cause: unknown): LightPeftError {
  const hint = `: if it is a model on the Hugging Face Hub, run \`hf download ${path} --local-dir ${basename(path)}\` and pass the folder ${basename(path)}`;
  return new LightPeftError('NOT_A_FOLDER', `${path}: no such folder${HUB_ID.test(path) ? hint : ''}`, {
    cause,
  });
}

async function checkFolder(path: string): Promise<void> {
  const found = await stat(path).catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') throw notThere(path, error);
    throw new LightPeftError('NOT_A_FOLDER', `${path}: ${messageOf(error)}`, { cause: error });
  });
  if (!found.isDirectory())
    throw new LightPeftError(
      'NOT_A_FOLDER',
      `${path}: this is a file; pass the folder that holds config.json`,
    );
}

/**
 * Opens a local checkpoint and checks all that can be checked without reading the weights.
 * @param asked what its head is to tell; else what its own does
 * @throws {LightPeftError} NOT_A_FOLDER, BAD_CONFIG, UNSUPPORTED_MODEL, BAD_CHECKPOINT or IO
 */
export async function openCheckpoint(path: string, asked?: Told): Promise<Checkpoint> {
  await checkFolder(path);
  const config = await readConfig(join(path, CONFIG), asked);
  const { family, spec, own, labels, problemType, trained } = config;
  const sites = findSites(path, config, await readWeightFiles(path));
  const fingerprint = await fingerprintOf(spec, sites.tensors);
  return { folder: path, family, spec, own, labels, problemType, trained, ...sites, fingerprint };
}
