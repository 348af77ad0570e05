import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { LightPeftError, messageOf } from '../errors.ts';
import { FAMILIES, type Family } from './families.ts';
import { ARCHITECTURES } from './naming.ts';
import { parseFields } from './parse-fields.ts';
import { type Spec, type Told, TOLD } from './spec.ts';

export const CONFIG = 'config.json';

export interface Config {
  /** With the names of the head that the spec has. */
  family: Family;
  spec: Spec;
  /** What the head of the checkpoint's own architecture tells; null: the config does not say, or it has none. */
  own: Told | null;
  /** The file's, all of it. */
  json: Record<string, unknown>;
  /** By class number; null where the config does not say. */
  labels: string[] | null;
  problemType: string | null;
  /** What this library wrote of a model that it trained. */
  trained: Trained;
}

/** Of texts, in tokens. */
export interface TextLengths {
  maxLength?: number | undefined;
  /** That two windows over a long text share. */
  docStride?: number | undefined;
}

export interface Trained extends TextLengths {
  /** Whether a text may have no answer. */
  unanswerable?: boolean | undefined;
}

const TRAINED: z.ZodType<Trained> = z.object({
  unanswerable: z.boolean().optional(),
  maxLength: z.int().positive().optional(),
  docStride: z.int().min(0).optional(),
});

const bad = (message: string, cause?: unknown) => new LightPeftError('BAD_CONFIG', message, { cause });

const COMMON = z.object({
  model_type: z.string(),
  architectures: z.array(z.string()).nullish(),
  // Some files have numbers for names.
  id2label: z.record(z.string(), z.union([z.string(), z.number()])).nullish(),
  light_peft: TRAINED.nullish(),
  num_labels: z.int().positive().max(100_000).nullish(),
  problem_type: z.enum(['regression', 'single_label_classification', 'multi_label_classification']).nullish(),
});

async function readJson(file: string): Promise<Record<string, unknown>> {
  const text = await readFile(file, 'utf8').catch((error: unknown) => {
    const missing = (error as NodeJS.ErrnoException).code === 'ENOENT';
    throw bad(`${file}: ${missing ? 'no such file' : messageOf(error)}`, error);
  });
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw bad(`${file}: ${messageOf(error)}`, error);
  }
  if (typeof json !== 'object' || json === null || Array.isArray(json))
    throw bad(`${file}: this is not a JSON object`);
  return json as Record<string, unknown>;
}

function labelsOf({ id2label, num_labels }: z.infer<typeof COMMON>, file: string): string[] | null {
  // transformers calls classes so where only their number is known.
  if (id2label == null)
    return num_labels == null ? null : Array.from({ length: num_labels }, (_, i) => `LABEL_${i}`);
  const count = Object.keys(id2label).length;
  const names = Array.from({ length: count }, (_, i) => id2label[i]);
  if (count === 0 || names.includes(undefined))
    throw bad(`${file}: the keys of id2label are not 0, 1, 2, ...`);
  if (num_labels != null && num_labels !== count)
    throw bad(`${file}: num_labels is ${num_labels} and id2label has ${count}`);
  return names.map(String);
}

/**
 * Reads a config.json as transformers 4 and 5 write it, for what its own architecture tells if nothing else is asked for.
 * @throws {LightPeftError} BAD_CONFIG, or UNSUPPORTED_MODEL for what the engine cannot compute
 */
export async function readConfig(file: string, asked?: Told): Promise<Config> {
  const json = await readJson(file);
  const common = parseFields(COMMON, json, file);
  const family = FAMILIES.get(common.model_type);
  if (family === undefined)
    throw new LightPeftError(
      'UNSUPPORTED_MODEL',
      `${file}: model_type "${common.model_type}" is not supported; supported: ${[...FAMILIES.keys()].join(', ')}`,
    );
  const [architecture = ''] = common.architectures ?? [];
  const own = TOLD.find((told) => architecture.endsWith(ARCHITECTURES[told])) ?? null;
  const told = asked ?? own ?? 'classes';
  if (!family.tells.includes(told))
    throw new LightPeftError(
      'UNSUPPORTED_MODEL',
      `${file}: ${common.model_type} has no head for ${told}; it has those for ${family.tells.join(', ')}`,
    );
  return {
    family: family.telling(told),
    spec: family.parse(json, file, told),
    own,
    json,
    labels: labelsOf(common, file),
    problemType: common.problem_type ?? null,
    trained: common.light_peft ?? {},
  };
}
