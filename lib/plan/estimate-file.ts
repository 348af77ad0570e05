import { z } from 'zod';
import { SITES } from '../checkpoint/spec.ts';
import { readHeader, readTensors, safetensorsFile } from '../checkpoint/safetensors.ts';
import { LightPeftError, messageOf } from '../errors.ts';
import { MEASURES, type Measures } from '../native.ts';
import { type Fitted, misfitOf } from './estimate-fit.ts';
import { type Estimator, ESTIMATOR_NAMES, MODULE_ESTIMATORS, type ModuleEstimator } from './estimators.ts';
import { CUT, type Cut } from '../options.ts';
import type { WholeFile } from '../whole-file.ts';
import type { ModulePlace } from './scores.ts';

/** Beside the adapter that estimation trained. */
export const SCORES = 'scores.safetensors';

const VERSION = '3';

/** What the estimation measured: estimators make Scores of it. */
export interface Estimate {
  /** Of the base that was measured. */
  fingerprint: string;
  /** Likewise of the tokenizer: with another one texts are made of other tokens. */
  tokenizer: string;
  /** Training steps that were measured. */
  steps: number;
  /** All that were taken, and of which batches; unknown of files of earlier versions. */
  taken?: { steps: number; batches: string } | undefined;
  /** What the estimation was set up for. */
  estimator: Estimator;
  /** For `ratio` alone `measures.ratios` are taken. */
  moduleEstimator: ModuleEstimator;
  /** By layer, signed: as the estimation left them. */
  masks: { heads: Float32Array[]; neurons: Float32Array[] };
  measures: Measures;
  modules: ModulePlace[];
}

/**
 * An estimate as a safetensors file: masks.heads.N, and for each measure MEASURE.N, by layer or by module; the rest is
 * in the metadata, where the modules' names are JSON, for safetensors has room for strings only.
 * @param cut the options of the cut that it is for, as they were given
 */
export function estimateFile(file: string, estimate: Estimate, cut: Cut): WholeFile {
  const { masks, measures, modules, ...about } = estimate;
  const lists = Object.entries({ 'masks.heads': masks.heads, 'masks.neurons': masks.neurons, ...measures });
  const tensors = lists.flatMap(([name, arrays]) =>
    arrays.map((data, i) => [`${name}.${i}`, { shape: [data.length], data }] as const),
  );
  return safetensorsFile(file, new Map(tensors), {
    version: VERSION,
    fingerprint: about.fingerprint,
    tokenizer: about.tokenizer,
    steps: String(about.steps),
    ...(about.taken && { taken: String(about.taken.steps), batches: about.taken.batches }),
    estimator: about.estimator,
    moduleEstimator: about.moduleEstimator,
    cut: JSON.stringify(cut),
    modules: JSON.stringify(modules),
  });
}

const COUNT = z
  .string()
  .regex(/^[1-9]\d{0,14}$/)
  .transform(Number);

const JSON_TEXT = z.string().transform((text, context): unknown => {
  try {
    return JSON.parse(text);
  } catch {
    context.addIssue('not JSON');
    return z.NEVER;
  }
});

const METADATA = z.object({
  version: z.literal(VERSION),
  fingerprint: z.string().min(1),
  tokenizer: z.string().min(1),
  steps: COUNT,
  taken: COUNT.optional(),
  batches: z.string().optional(),
  estimator: z.enum(ESTIMATOR_NAMES),
  moduleEstimator: z.enum(MODULE_ESTIMATORS),
  // As they were given, without defaults.
  cut: JSON_TEXT.refine((cut): cut is Cut => CUT.safeParse(cut).success).optional(),
  modules: JSON_TEXT.pipe(
    z.array(z.strictObject({ name: z.string().min(1), layer: z.int().nonnegative(), site: z.enum(SITES) })),
  ),
});

/** What an estimate was run for; nothing where it cannot be told. */
export async function purposeOf(
  file: string,
): Promise<Partial<Pick<Estimate, 'estimator' | 'moduleEstimator'>> & { cut: Cut }> {
  const header = await readHeader(file).catch(() => undefined);
  const about = METADATA.safeParse(header?.metadata);
  if (!about.success) return { cut: {} };
  const { estimator, moduleEstimator, cut = {} } = about.data;
  return { estimator, moduleEstimator, cut };
}

/** @throws {LightPeftError} BAD_SCORES: not such a file, or made for another base, tokenizer or adapter */
export async function readEstimate(
  file: string,
  { fingerprint, tokenizer, ...fitted }: Fitted & Pick<Estimate, 'fingerprint' | 'tokenizer'>,
): Promise<Estimate> {
  const bad = (why: string, cause?: unknown) =>
    new LightPeftError('BAD_SCORES', `${file}: ${why}`, { cause });
  const broken = (error: unknown): never => {
    throw bad(messageOf(error), error);
  };
  const { metadata } = await readHeader(file).catch(broken);
  const tensors = await readTensors(file).catch(broken);
  const about = METADATA.safeParse(metadata);
  if (!about.success) throw bad('not a file of scores, or one of another version', about.error);
  const { steps, taken, batches, estimator, moduleEstimator, modules } = about.data;
  if (about.data.fingerprint !== fingerprint) throw bad('these scores were taken on another base');
  if (about.data.tokenizer !== tokenizer) throw bad('these scores were taken with another tokenizer');
  const list = (prefix: string): Float32Array[] => {
    const out: Float32Array[] = [];
    for (let i = 0; tensors.has(`${prefix}.${i}`); i++) out.push(tensors.get(`${prefix}.${i}`)!.data);
    return out;
  };
  const masks = { heads: list('masks.heads'), neurons: list('masks.neurons') };
  const measures = Object.fromEntries(MEASURES.map((name) => [name, list(name)])) as Measures;
  for (const [name, { data }] of tensors)
    if (data.some((value) => Math.abs(value) === Infinity)) throw bad(`${name} is not finite`);
  const misfit = misfitOf({ masks, measures, modules }, fitted);
  if (misfit !== undefined) throw bad(misfit);
  return {
    ...{ fingerprint, tokenizer, steps, estimator, moduleEstimator, masks, measures, modules },
    taken: taken !== undefined && batches !== undefined ? { steps: taken, batches } : undefined,
  };
}
