import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import type { Told } from '../checkpoint/spec.ts';
import { readingOf } from '../data/reading.ts';
import { messageOf } from '../errors.ts';
import { RANK, READS, type Reads } from '../options.ts';
import type { WholeFile } from '../whole-file.ts';
import { INFO, checked, jsonFile, readJson } from './files.ts';

/** What this library must know of an adapter beyond what PEFT stores. */
export interface AdapterInfo {
  /** The base's path as it was given. */
  base: string;
  fingerprint: string;
  /** What its head tells, or the tokens of a vocabulary; a value is told as classes are. */
  tells: Told | 'tokens';
  /** Of classes and tags; null: there are none. */
  labels: string[] | null;
  /** Whether a text may have no answer. */
  unanswerable?: boolean | undefined;
  /** The options that say how files are read, as they were given. */
  reads: Reads;
  maxLength: number;
  /** Of windows over long texts, where that was given. */
  docStride?: number | undefined;
  r: number;
  alpha: number;
  dropout: number;
  targetModules: string[];
}

const VERSION = 2;

/** Options that say how a file is read are those of no run where no file can be read so. */
const checkReads = (reads: Reads, context: z.RefinementCtx<Reads>): void => {
  try {
    readingOf(reads);
  } catch (error) {
    context.addIssue({ code: 'custom', message: messageOf(error) });
  }
};

const schema: z.ZodType<AdapterInfo> = z
  .strictObject({
    version: z.literal(VERSION, 'another version wrote this adapter; train it again'),
    base: z.string(),
    fingerprint: z.string().min(1),
    tells: z.enum(['classes', 'choices', 'tags', 'spans', 'tokens']),
    labels: z
      .array(z.string())
      .min(2)
      .refine((names) => new Set(names).size === names.length, 'two names are the same')
      .nullable(),
    unanswerable: z.boolean().optional(),
    reads: READS.superRefine(checkReads),
    maxLength: z.int().positive(),
    docStride: z.int().min(0).optional(),
    r: RANK,
    alpha: z.number().positive(),
    dropout: z.number().min(0).lt(1),
    targetModules: z.array(z.string().min(1)).min(1),
  })
  // The version is the file's, not the adapter's.
  .transform(({ version, ...info }) => (version satisfies 2, info));

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
