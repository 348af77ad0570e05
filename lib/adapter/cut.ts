import { LightPeftError } from '../errors.ts';
import type { Spec } from '../checkpoint/spec.ts';
import type { NamedTensor } from '../native.ts';
import type { Plan } from '../plan/plan.ts';
import type { BaseDelta } from './delta.ts';
import { badAdapter, loraPart } from './files.ts';

export interface Shaped {
  shape: readonly number[];
  data: Float32Array;
}

export type SiteOf = (module: string) => { layer: number; site: string } | undefined;

const badPlan = (message: string) => new LightPeftError('BAD_PLAN', message);

/** undefined: all of them. */
type Kept = readonly number[] | undefined;

const all = (n: number): number[] => Array.from({ length: n }, (_, i) => i);

/** Which rows and columns of a matrix a plan keeps; indices need only exist. */
function keptIn(name: string, { shape }: Shaped, rows: Kept, columns: Kept) {
  const [height, width] = shape;
  if (height === undefined || width === undefined || shape.length !== 2)
    throw badAdapter(`${name} is not a matrix`);
  if (rows?.some((row) => row >= height) || columns?.some((column) => column >= width))
    throw badPlan(`the plan keeps more than the [${height}, ${width}] of ${name}`);
  return { width, down: rows ?? all(height), across: columns ?? all(width) };
}

/** How a base's heads lie in its weights. */
export type HeadLayout = Pick<Spec, 'heads' | 'group' | 'headSize' | 'fused'>;

const valuesOf = (heads: readonly number[], each: number): number[] =>
  heads.flatMap((head) => Array.from({ length: each }, (_, i) => head * each + i));

/** Of a weight that gives query, key and value. */
function fusedRows(heads: readonly number[], { heads: all, headSize, fused }: HeadLayout): number[] {
  if (fused === 'by head') return valuesOf(heads, 3 * headSize);
  return [0, 1, 2].flatMap((part) => valuesOf(heads, headSize).map((row) => part * all * headSize + row));
}

/** What stays of a module's inputs and outputs where its layer loses heads and neurons. */
function keptOf(
  site: string,
  layer: Plan['layers'][number],
  layout: HeadLayout,
): { inputs: Kept; outputs: Kept } {
  const { group, headSize } = layout;
  switch (site) {
    case 'qkv':
      return { inputs: undefined, outputs: fusedRows(layer.heads, layout) };
    case 'query':
      return { inputs: undefined, outputs: valuesOf(layer.heads, group * headSize) };
    case 'key':
    case 'value':
      return { inputs: undefined, outputs: valuesOf(layer.heads, headSize) };
    case 'attention.output':
      return { inputs: valuesOf(layer.heads, group * headSize), outputs: undefined };
    case 'gate':
    case 'intermediate':
      return { inputs: undefined, outputs: layer.neurons };
    case 'output':
      return { inputs: layer.neurons, outputs: undefined };
    default:
      throw new LightPeftError('INTERNAL', `${site} is not a site of a layer`);
  }
}

/** What the inputs of a module are multiplied by where the base's weights beside it have scales folded in. */
function scalesOf(
  site: string,
  layer: number,
  { group, headSize }: HeadLayout,
  delta: BaseDelta | null,
): ArrayLike<number> | undefined {
  if (site === 'output') return delta?.get(`layers.${layer}.neuron_scale`)?.data;
  const heads = site === 'attention.output' ? delta?.get(`layers.${layer}.head_scale`)?.data : undefined;
  return (
    heads &&
    Float32Array.from(
      { length: heads.length * group * headSize },
      (_, i) => heads[Math.floor(i / (group * headSize))]!,
    )
  );
}

/** The matrices of the modules that a plan keeps, and what it keeps of each. */
function* keptMatrices(
  tensors: ReadonlyMap<string, Shaped>,
  plan: Plan,
  layout: HeadLayout,
  siteOf: SiteOf,
): Generator<{
  name: string;
  matrix: Shaped;
  side: 'A' | 'B';
  layer: number;
  site: string;
  rows: Kept;
  columns: Kept;
}> {
  for (const { name: module, ranks } of plan.modules) {
    const [nameA, nameB] = [`${module}.lora_A.weight`, `${module}.lora_B.weight`] as const;
    const [a, b] = [tensors.get(nameA), tensors.get(nameB)];
    if (!a || !b) throw badPlan(`the plan keeps ${module}, which is not in the adapter`);
    const place = siteOf(module);
    if (!place) throw badPlan(`the plan keeps ${module}, which is not among the target modules`);
    const { layer, site } = place;
    const kept = plan.layers[layer];
    if (!kept) throw badPlan(`the plan keeps ${module}, but has ${plan.layers.length} layers only`);
    const missing = ranks.find((rank) => rank >= (a.shape[0] ?? 0));
    if (missing !== undefined)
      throw badPlan(`the plan keeps rank ${missing} of ${module}, which has ${a.shape[0] ?? 0}`);
    const { inputs, outputs } = keptOf(site, kept, layout);
    yield { name: nameA, matrix: a, side: 'A', layer, site, rows: ranks, columns: inputs };
    yield { name: nameB, matrix: b, side: 'B', layer, site, rows: outputs, columns: ranks };
  }
}

/** How a tensor changes with what its columns are multiplied by. */
type Along = (value: number, scale: number) => number;

/**
 * What a plan leaves of an adapter for the whole base. The head stays, as the hidden size does.
 * @param siteOf the layer and the site of it
 * @param delta scales that the base folds in; those of a module's inputs go into its A
 * @param along what these do to a value: for a weight, which is multiplied, nothing need be said
 * @throws {LightPeftError} BAD_PLAN: a module, a rank, a head or a neuron of the plan is not in the adapter;
 *   BAD_ADAPTER: a tensor belongs to neither LoRA nor the head
 */
export function cutAdapter(
  tensors: ReadonlyMap<string, Shaped>,
  plan: Plan,
  layout: HeadLayout,
  siteOf: SiteOf,
  delta: BaseDelta | null = null,
  along: Along = (value, scale) => value * scale,
): NamedTensor[] {
  const result: NamedTensor[] = [];
  for (const { name, matrix, side, layer, site, rows, columns } of keptMatrices(
    tensors,
    plan,
    layout,
    siteOf,
  )) {
    const { width, down, across } = keptIn(name, matrix, rows, columns);
    const scales = side === 'A' ? scalesOf(site, layer, layout, delta) : undefined;
    const data = new Float32Array(down.length * across.length);
    let at = 0;
    for (const row of down)
      for (const [i, column] of across.entries()) {
        const value = matrix.data[row * width + column]!;
        data[at++] = scales ? along(value, scales[i]!) : value;
      }
    result.push({ name, shape: [down.length, across.length], data });
  }
  for (const [name, { shape, data }] of tensors) {
    if (name.startsWith('classifier.')) result.push({ name, shape: [...shape], data });
    // Masks serve training alone; modules that the plan does not name go.
    else if (!loraPart(name) && !name.startsWith('masks.')) throw badAdapter(`${name} is unknown`);
  }
  return result;
}

/** The inverse: the whole adapter with what was cut from it by a plan, and trained since, in its place. */
export function mergeAdapter(
  tensors: ReadonlyMap<string, Shaped>,
  cut: readonly NamedTensor[],
  plan: Plan,
  layout: HeadLayout,
  siteOf: SiteOf,
): NamedTensor[] {
  const trained = new Map(cut.map((tensor) => [tensor.name, tensor]));
  const merged = new Map<string, NamedTensor>();
  for (const [name, { shape, data }] of tensors) {
    const whole = name.startsWith('classifier.') ? trained.get(name)?.data : undefined;
    merged.set(name, { name, shape: [...shape], data: whole ?? data.slice() });
  }
  for (const { name, matrix, rows, columns } of keptMatrices(tensors, plan, layout, siteOf)) {
    const { width, down, across } = keptIn(name, matrix, rows, columns);
    const { data } = trained.get(name)!;
    let at = 0;
    for (const row of down)
      for (const column of across) merged.get(name)!.data[row * width + column] = data[at++]!;
  }
  return [...merged.values()];
}
