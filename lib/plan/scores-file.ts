import { readTensors, writeSafetensors } from '../checkpoint/safetensors.ts';
import { LightPeftError } from '../errors.ts';
import type { Scores } from './scores.ts';

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

/** @throws {LightPeftError} BAD_SCORES: not such a file, or made for another base */
export async function readScores(
  file: string,
  metadata: Record<string, string>,
  fingerprint: string,
): Promise<Scores> {
  const bad = (why: string) => new LightPeftError('BAD_SCORES', `${file}: ${why}`);
  const tensors = await readTensors(file);
  const { fingerprint: found, steps, modules } = metadata;
  if (!found || !steps || !modules) throw bad('not a Scores file');
  if (found !== fingerprint) throw bad('these scores were taken on another base');
  const list = (prefix: string): Float32Array[] => {
    const out: Float32Array[] = [];
    for (let i = 0; tensors.has(`${prefix}.${i}`); i++) out.push(tensors.get(`${prefix}.${i}`)!.data);
    return out;
  };
  const ranks = list('ranks');
  const named = JSON.parse(modules) as { name: string; ratio: number }[];
  if (named.length !== ranks.length) throw bad('modules without ranks');
  return {
    fingerprint,
    steps: Number(steps),
    heads: list('heads'),
    neurons: list('neurons'),
    modules: named.map(({ name, ratio }, i) => ({ name, ratio, ranks: ranks[i]! })),
  };
}
