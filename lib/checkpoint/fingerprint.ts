import { createHash } from 'node:crypto';
import { ExactReader } from './exact-read.ts';
import type { TensorInfo } from './safetensors.ts';
import type { Spec } from './spec.ts';

/** Of each end of a tensor; the whole of a large model would take longer to read than some trainings. */
const SAMPLE = 4096;

/** What of a spec says nothing of the base. */
const OF_HEADS: readonly (keyof Spec)[] = [
  'told',
  'head',
  'headDropout',
  'vocabulary',
  'vocabularyActivation',
];

/** The same with the keys of all objects in order. */
const sorted = (value: unknown): unknown => {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(entries.map(([key, each]) => [key, sorted(each)]));
};

/**
 * Tells bases apart by their spec and a sample of their weights. What their files are called and how the weights
 * are spread over them does not matter, and a head does not either, be it one for tokens: a plan holds under another one.
 */
export async function fingerprintOf(spec: Spec, tensors: ReadonlyMap<string, TensorInfo>): Promise<string> {
  const base = Object.entries(spec).filter(([name]) => !OF_HEADS.includes(name as keyof Spec));
  const hash = createHash('sha256').update(JSON.stringify(sorted(Object.fromEntries(base))));
  const readers = new Map<string, ExactReader>();
  try {
    for (const site of [...tensors.keys()].filter((name) => !name.startsWith('vocabulary.')).sort()) {
      const { dtype, shape, file, offset, bytes } = tensors.get(site)!;
      const reader = readers.get(file) ?? (await ExactReader.open(file));
      readers.set(file, reader);
      const length = Math.min(bytes, SAMPLE);
      // JSON on a line of its own, so that no two lists of tensors read the same.
      hash.update(`\n${JSON.stringify([site, dtype, shape])}\n`);
      hash.update(await reader.read(offset, length));
      hash.update(await reader.read(offset + bytes - length, length));
    }
  } finally {
    for (const reader of readers.values()) await reader.close();
  }
  return hash.digest('hex');
}
