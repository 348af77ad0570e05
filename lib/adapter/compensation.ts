import type { Model } from '../engine.ts';
import type { Measures, ModuleConfig } from '../native.ts';
import type { Plan } from '../plan/plan.ts';
import type { Shaped } from './cut.ts';
import { type BaseDelta, layerCuts } from './delta.ts';

/** LoRA tensors of the whole base, by name. */
export type Adapter = ReadonlyMap<string, Shaped>;

/** b [h, r] a [r, n] x [n] over those of r and n that `rank` and `input` take. */
function branch(
  a: Shaped,
  b: Shaped,
  x: Float32Array,
  rank: (k: number) => boolean,
  input: (c: number) => boolean,
): Float32Array {
  const [ranks, width] = a.shape as [number, number];
  const [height] = b.shape as [number];
  const result = new Float32Array(height);
  for (let k = 0; k < ranks; k++) {
    if (!rank(k)) continue;
    let p = 0;
    for (let c = 0; c < width; c++) if (input(c)) p += a.data[k * width + c]! * x[c]!;
    for (let row = 0; row < height; row++) result[row]! += b.data[row * ranks + k]! * p;
  }
  return result;
}

const all = () => true;

/** What a module's branch gives in the mean, less what is left of it after the cut. */
function lostBranch(
  { name, scale }: ModuleConfig,
  plan: Plan,
  adapter: Adapter,
  mean: Float32Array,
  stays: (column: number) => boolean,
): Float32Array | undefined {
  const [a, b] = [adapter.get(`${name}.lora_A.weight`), adapter.get(`${name}.lora_B.weight`)];
  if (!a || !b) return undefined;
  const kept = new Set(plan.modules.find((module) => module.name === name)?.ranks);
  const whole = branch(a, b, mean, all, all);
  const left = branch(a, b, mean, (k) => kept.has(k), stays);
  return whole.map((value, i) => scale * (value - left[i]!));
}

/**
 * Shifts of the biases after attention and FFN that put the mean of what a plan removes in its place (FLAP), LoRA's part
 * with it.
 */
export async function compensation(
  plan: Plan,
  measures: Pick<Measures, 'contextMean' | 'neuronMean'>,
  bench: { model: Model; modules(): ModuleConfig[] },
  adapter: Adapter,
): Promise<BaseDelta> {
  const { attention, output } = await bench.model.shifts(layerCuts(plan, null), measures);
  const add = (to: Float32Array, more: Float32Array | undefined) => {
    more?.forEach((value, i) => (to[i]! += value));
  };
  for (const module of bench.modules()) {
    const { layer, site } = module;
    const kept = plan.layers[layer]!;
    if (site === 'attention.output') {
      const mean = measures.contextMean[layer]!;
      const { group, headSize } = bench.model.checkpoint.spec;
      const size = group * headSize;
      const heads = new Set(kept.heads);
      add(
        attention[layer]!,
        lostBranch(module, plan, adapter, mean, (c) => heads.has(Math.floor(c / size))),
      );
    } else if (site === 'output') {
      const neurons = new Set(kept.neurons);
      const mean = measures.neuronMean[layer]!;
      add(
        output[layer]!,
        lostBranch(module, plan, adapter, mean, (c) => neurons.has(c)),
      );
    }
  }
  const vector = (data: Float32Array) => ({ shape: [data.length], data });
  return new Map(
    plan.layers.flatMap((_, l) => [
      [`layers.${l}.attention.output.bias_shift`, vector(attention[l]!)] as const,
      [`layers.${l}.output.bias_shift`, vector(output[l]!)] as const,
    ]),
  );
}
