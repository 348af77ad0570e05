import type { LayerCut } from '../native.ts';
import type { Plan } from '../plan/plan.ts';
import type { Scores } from '../plan/scores.ts';
import { badAdapter } from './files.ts';

/** What changes in the base itself: `layers.N.head_scale`, `layers.N.output.bias_shift` and the like, all vectors. */
export type BaseDelta = ReadonlyMap<string, { shape: readonly number[]; data: Float32Array }>;

const DELTA =
  /^layers\.(0|[1-9]\d*)\.(head_scale|neuron_scale|attention\.output\.bias_shift|output\.bias_shift)$/;

/** @throws {LightPeftError} BAD_ADAPTER: a part is unknown, no vector, or not as long as what it scales */
export function checkDelta(delta: BaseDelta, plan: Plan, file: string): void {
  for (const [name, { shape }] of delta) {
    const [, index, what] = DELTA.exec(name) ?? [];
    const layer = index === undefined ? undefined : plan.layers[Number(index)];
    if (layer === undefined) throw badAdapter(`${file}: ${name} is not a part of what the plan keeps`);
    const kept =
      what === 'head_scale' ? layer.heads : what === 'neuron_scale' ? layer.neurons : { length: shape[0] };
    if (shape.length !== 1 || shape[0] !== kept.length)
      throw badAdapter(`${file}: ${name} is [${shape.join(', ')}], the plan says [${kept.length ?? 'n'}]`);
  }
}

/** The masks as estimation left them, of what a plan keeps. */
export function foldedMasks(plan: Plan, { heads, neurons }: Pick<Scores, 'heads' | 'neurons'>): BaseDelta {
  const kept = (values: Float32Array, indices: number[]) => ({
    shape: [indices.length],
    data: Float32Array.from(indices, (i) => values[i]!),
  });
  return new Map(
    plan.layers.flatMap((layer, l) => [
      [`layers.${l}.head_scale`, kept(heads[l]!, layer.heads)] as const,
      [`layers.${l}.neuron_scale`, kept(neurons[l]!, layer.neurons)] as const,
    ]),
  );
}

/** What the engine does to each layer. */
export const layerCuts = (plan: Plan, delta: BaseDelta | null): LayerCut[] =>
  plan.layers.map((layer, l) => ({
    ...layer,
    headScale: delta?.get(`layers.${l}.head_scale`)?.data,
    neuronScale: delta?.get(`layers.${l}.neuron_scale`)?.data,
    attentionShift: delta?.get(`layers.${l}.attention.output.bias_shift`)?.data,
    outputShift: delta?.get(`layers.${l}.output.bias_shift`)?.data,
  }));
