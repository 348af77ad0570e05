import { readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { LightPeftError } from '../errors.ts';

const SCHEMA = z.strictObject({
  version: z.literal(1),
  /** The base, as its folder was given. */
  base: z.string(),
  fingerprint: z.string(),
  /** Class names; null: a regression. */
  labels: z.array(z.string()).nullable(),
  columns: z.array(z.string()),
  metric: z.string(),
  maxLength: z.int(),
  r: z.int().min(1),
  alpha: z.number(),
  dropout: z.number(),
  targetModules: z.array(z.string()),
});

/** What PEFT's own files have no room for. */
export type AdapterInfo = Omit<z.infer<typeof SCHEMA>, 'version'>;

const FILE = 'light_peft.json';

/** Whole or not at all. */
export async function writeJson(file: string, value: unknown): Promise<void> {
  await writeFile(`${file}.tmp`, `${JSON.stringify(value, null, 1)}\n`);
  await rename(`${file}.tmp`, file);
}

/** @throws {LightPeftError} BAD_ADAPTER: unreadable */
export async function readJson(file: string): Promise<unknown> {
  try {
    return JSON.parse(await readFile(file, 'utf8')) as unknown;
  } catch (error) {
    throw new LightPeftError('BAD_ADAPTER', `${file}: cannot be read as JSON`, { cause: error });
  }
}

export const writeInfo = (folder: string, info: AdapterInfo): Promise<void> =>
  writeJson(join(folder, FILE), { version: 1, ...info });

/** @throws {LightPeftError} BAD_ADAPTER */
export async function readInfo(folder: string): Promise<AdapterInfo> {
  const file = join(folder, FILE);
  const parsed = SCHEMA.safeParse(await readJson(file));
  if (!parsed.success)
    throw new LightPeftError('BAD_ADAPTER', `${file}: ${parsed.error.issues[0]?.message ?? 'malformed'}`);
  return parsed.data;
}
