import { createHash } from 'node:crypto';
import type { Correction, LayerCut, LayerReconstruction } from '../native.ts';
import type { Plan } from '../plan/plan.ts';
import type { Scores } from '../plan/scores.ts';
import { badAdapter } from './files.ts';

/**
 * What changes in the base itself: vectors, `layers.N.head_scale`, `layers.N.output.bias_shift` and the like, and matrices,
 * `layers.N.output.correction_a` [r, inputs] and `correction_b` [hidden, r], whose product is added to a weight.
 */
export type BaseDelta = ReadonlyMap<string, { shape: readonly number[]; data: Float32Array }>;

const DELTA =
  /^layers\.(0|[1-9]\d*)\.(head_scale|neuron_scale|(attention\.)?output\.(?:bias_shift|correction_[ab]))$/;

/** Tells one delta from another. */
export function digestOf(delta: BaseDelta): string {
  const hash = createHash('sha256');
  for (const [name, { shape, data }] of [...delta].sort(([a], [b]) => (a < b ? -1 : 1)))
    hash.update(JSON.stringify([name, shape])).update(data);
  return hash.digest('hex');
}

type Shape = readonly number[];

/** What is wrong with a correction of what is read of so many units. */
function wrongCorrection(a: Shape | undefined, b: Shape | undefined, units: number): string | undefined {
  if (!a || !b) return `there is no correction_${a ? 'b' : 'a'} beside it`;
  const [rank = 0, inputs = 0] = a;
  if (a.length !== 2 || b.length !== 2 || rank < 1 || b[1] !== rank || units === 0 || inputs % units !== 0)
    return `[${a.join(', ')}] and [${b.join(', ')}] are no correction of what is read of ${units} units`;
  return undefined;
}

/** @throws {LightPeftError} BAD_ADAPTER: a part is unknown, or not of the size of what it changes */
export function checkDelta(delta: BaseDelta, plan: Plan, file: string): void {
  for (const [name, { shape }] of delta) {
    const [, index, what = '', attention] = DELTA.exec(name) ?? [];
    const layer = index === undefined ? undefined : plan.layers[Number(index)];
    if (layer === undefined) throw badAdapter(`${file}: ${name} is not a part of what the plan keeps`);
    const { heads, neurons } = layer;
    if (what.includes('correction')) {
      const [a, b] = ['a', 'b'].map((part) => delta.get(`${name.slice(0, -1)}${part}`)?.shape);
      const wrong = wrongCorrection(a, b, (attention ? heads : neurons).length);
      if (wrong !== undefined) throw badAdapter(`${file}: ${name}: ${wrong}`);
      continue;
    }
    const kept = what === 'head_scale' ? heads : what === 'neuron_scale' ? neurons : { length: shape[0] };
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

/** What least squares give back. */
export function corrections(layers: readonly LayerReconstruction[]): BaseDelta {
  const delta = new Map<string, { shape: number[]; data: Float32Array }>();
  for (const [l, { attention, output }] of layers.entries())
    for (const [site, { shift, correction }] of [
      [`layers.${l}.attention.output`, attention],
      [`layers.${l}.output`, output],
    ] as const) {
      if (shift) delta.set(`${site}.bias_shift`, { shape: [shift.length], data: shift });
      if (!correction) continue;
      const { rank, a, b } = correction;
      delta.set(`${site}.correction_a`, { shape: [rank, a.length / rank], data: a });
      delta.set(`${site}.correction_b`, { shape: [b.length / rank, rank], data: b });
    }
  return delta;
}

function correctionOf(delta: BaseDelta | null, site: string): Correction | undefined {
  const [a, b] = [delta?.get(`${site}.correction_a`), delta?.get(`${site}.correction_b`)];
  return a && b && { rank: a.shape[0]!, a: a.data, b: b.data };
}

/** What the engine does to each layer. */
export const layerCuts = (plan: Plan, delta: BaseDelta | null): LayerCut[] =>
  plan.layers.map((layer, l) => ({
    ...layer,
    headScale: delta?.get(`layers.${l}.head_scale`)?.data,
    neuronScale: delta?.get(`layers.${l}.neuron_scale`)?.data,
    attentionShift: delta?.get(`layers.${l}.attention.output.bias_shift`)?.data,
    outputShift: delta?.get(`layers.${l}.output.bias_shift`)?.data,
    attentionCorrection: correctionOf(delta, `layers.${l}.attention.output`),
    outputCorrection: correctionOf(delta, `layers.${l}.output`),
  }));
