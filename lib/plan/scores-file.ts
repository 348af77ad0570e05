import { z } from 'zod';
import { readHeader, readTensors, writeSafetensors } from '../checkpoint/safetensors.ts';
import { LightPeftError, messageOf } from '../errors.ts';
import type { Scores } from './scores.ts';

/** Beside the adapter that estimation trained. */
export const SCORES = 'scores.safetensors';

/**
 * Scores as a safetensors file: heads.N, neurons.N, and for module i ranks.i; the rest is in the metadata, where the
 * fields are JSON, for safetensors has room for strings only.
 */
export async function writeScores(file: string, scores: Scores): Promise<void> {
  const flat = (prefix: string, arrays: Float32Array[]) =>
    arrays.map((data, i) => [`${prefix}.${i}`, { shape: [data.length], data }] as const);
  const ranks = scores.modules.map((module) => module.ranks);
  await writeSafetensors(
    file,
    new Map([...flat('heads', scores.heads), ...flat('neurons', scores.neurons), ...flat('ranks', ranks)]),
    {
      fingerprint: scores.fingerprint,
      steps: String(scores.steps),
      modules: JSON.stringify(scores.modules.map(({ name, ratio }) => ({ name, ratio }))),
    },
  );
}

const MODULES = z.array(z.strictObject({ name: z.string().min(1), ratio: z.number() }));
const METADATA = z.object({
  fingerprint: z.string().min(1),
  steps: z.string().regex(/^\d+$/).transform(Number),
  modules: z
    .string()
    .transform((text, context): unknown => {
      try {
        return JSON.parse(text);
      } catch {
        context.addIssue('not JSON');
        return z.NEVER;
      }
    })
    .pipe(MODULES),
});

/** @throws {LightPeftError} BAD_SCORES: not such a file, or made for another base */
export async function readScores(file: string, fingerprint: string): Promise<Scores> {
  const bad = (why: string, cause?: unknown) =>
    new LightPeftError('BAD_SCORES', `${file}: ${why}`, { cause });
  const broken = (error: unknown): never => {
    throw bad(messageOf(error), error);
  };
  const { metadata } = await readHeader(file).catch(broken);
  const tensors = await readTensors(file).catch(broken);
  const about = METADATA.safeParse(metadata);
  if (!about.success) throw bad('not a Scores file', about.error);
  const { fingerprint: found, steps, modules: named } = about.data;
  if (found !== fingerprint) throw bad('these scores were taken on another base');
  const list = (prefix: string): Float32Array[] => {
    const out: Float32Array[] = [];
    for (let i = 0; tensors.has(`${prefix}.${i}`); i++) out.push(tensors.get(`${prefix}.${i}`)!.data);
    return out;
  };
  const ranks = list('ranks');
  if (named.length !== ranks.length) throw bad('modules without ranks');
  return {
    fingerprint,
    steps,
    heads: list('heads'),
    neurons: list('neurons'),
    modules: named.map(({ name, ratio }, i) => ({ name, ratio, ranks: ranks[i]! })),
  };
}
