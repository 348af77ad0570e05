import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import type { Told } from '../checkpoint/spec.ts';
import { READS, type Reads } from '../options.ts';
import type { WholeFile } from '../whole-file.ts';
import { INFO, checked, jsonFile, readJson } from './files.ts';

/** What this library must know of an adapter beyond what PEFT stores. */
export interface AdapterInfo {
  /** The base's path as it was given. */
  base: string;
  fingerprint: string;
  /** null: a regression, or choices. */
  labels: string[] | null;
  /** How the texts of an example's choices are made of its columns, where these are told apart. */
  choices?: string[][] | undefined;
  /** How texts are made of the columns, where they are not these as they are. */
  template?: string[] | undefined;
  /** What choices' numbers begin with, where that is not 0. */
  firstChoice?: number | undefined;
  /** Whether a text may have no answer. */
  unanswerable?: boolean | undefined;
  /** Where tokens tell something: the one that comes next, tags or spans; of the columns the last one's. */
  tells?: 'tokens' | 'tags' | 'spans' | undefined;
  columns: string[];
  /** The options that say how files are read, as they were given. */
  reads?: Reads | undefined;
  metric: string;
  /** All that the task has, where it has more than that one. */
  metrics?: string[] | undefined;
  maxLength: number;
  /** Of windows over long texts, where that was given. */
  docStride?: number | undefined;
  r: number;
  alpha: number;
  dropout: number;
  targetModules: string[];
}

/** What an adapter's head tells, or the tokens of a vocabulary. */
export const toldBy = ({ tells, choices }: AdapterInfo): Told | 'tokens' =>
  tells ?? (choices ? 'choices' : 'classes');

const VERSION = 1;

const schema: z.ZodType<AdapterInfo> = z
  .strictObject({
    version: z.literal(VERSION),
    base: z.string(),
    fingerprint: z.string().min(1),
    labels: z.array(z.string()).min(1).nullable(),
    choices: z.array(z.array(z.string()).min(1).max(2)).min(2).optional(),
    template: z.array(z.string()).min(1).max(2).optional(),
    firstChoice: z.int().optional(),
    unanswerable: z.boolean().optional(),
    tells: z.enum(['tokens', 'tags', 'spans']).optional(),
    columns: z.array(z.string()).min(1),
    reads: READS.optional(),
    metric: z.string().min(1),
    metrics: z.array(z.string().min(1)).min(1).optional(),
    maxLength: z.int().positive(),
    docStride: z.int().min(0).optional(),
    r: z.int().positive(),
    alpha: z.number().positive(),
    dropout: z.number().min(0).lt(1),
    targetModules: z.array(z.string().min(1)).min(1),
  })
  // The version is the file's, not the adapter's.
  .transform(({ version, ...info }) => (version satisfies 1, info));

export const infoFile = (folder: string, info: AdapterInfo): WholeFile =>
  jsonFile(join(folder, INFO), { version: VERSION, ...info });

/** @throws {LightPeftError} BAD_ADAPTER: light_peft.json is missing or malformed */
export async function readInfo(folder: string): Promise<AdapterInfo> {
  const file = join(folder, INFO);
  return checked(schema, await readJson(file), file);
}

/** null where there is no such file, as in what PEFT itself wrote. */
export const readInfoIfAny = async (folder: string): Promise<AdapterInfo | null> =>
  existsSync(join(folder, INFO)) ? readInfo(folder) : null;
