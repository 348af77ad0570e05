import { LightPeftError } from '../errors.ts';
import type { NamedTensor } from '../native.ts';
import type { Plan } from '../plan/plan.ts';

interface Matrix {
  shape: number[];
  data: Float32Array;
}

/** The given rows and columns of a matrix; undefined: all. */
function select({ shape, data }: Matrix, rows?: number[], columns?: number[]): Matrix {
  const [height = 0, width = 0] = shape;
  const r = rows ?? Array.from({ length: height }, (_, i) => i);
  const c = columns ?? Array.from({ length: width }, (_, i) => i);
  const out = new Float32Array(r.length * c.length);
  let at = 0;
  for (const row of r) for (const column of c) out[at++] = data[row * width + column]!;
  return { shape: [r.length, c.length], data: out };
}

/**
 * Full-shape LoRA tensors as the cut base needs them: A [r, in] and B [out, r] lose the ranks, heads and neurons that
 * the Plan cuts, and whole modules; the task head passes.
 * @throws {LightPeftError} BAD_PLAN: the Plan keeps a module or a rank that the adapter does not have
 */
export function cutAdapter(
  tensors: ReadonlyMap<string, Matrix>,
  plan: Plan,
  headSize: number,
  siteOf: (module: string) => { layer: number; site: string } | undefined,
): NamedTensor[] {
  const out: NamedTensor[] = [];
  for (const { name, ranks } of plan.modules) {
    const place = siteOf(name);
    const a = tensors.get(`${name}.lora_A.weight`);
    const b = tensors.get(`${name}.lora_B.weight`);
    if (!place || !a || !b)
      throw new LightPeftError('BAD_PLAN', `the Plan keeps ${name}, which the adapter lacks`);
    if (ranks.some((rank) => rank >= a.shape[0]!))
      throw new LightPeftError('BAD_PLAN', `the Plan keeps ranks of ${name} beyond its ${a.shape[0]!}`);
    const { heads, neurons } = plan.layers[place.layer]!;
    const context = heads.flatMap((head) => Array.from({ length: headSize }, (_, i) => head * headSize + i));
    const inputs =
      place.site === 'attention.output' ? context : place.site === 'output' ? neurons : undefined;
    const outputs = ['query', 'key', 'value'].includes(place.site)
      ? context
      : place.site === 'intermediate'
        ? neurons
        : undefined;
    out.push({ name: `${name}.lora_A.weight`, ...select(a, ranks, inputs) });
    out.push({ name: `${name}.lora_B.weight`, ...select(b, outputs, ranks) });
  }
  for (const [name, { shape, data }] of tensors)
    if (name.startsWith('classifier.')) out.push({ name, shape, data });
  return out;
}
