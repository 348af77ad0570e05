import { LightPeftError } from '../errors.ts';
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

/**
 * Those rows and columns of a matrix, each column times its scale. Indices need not ascend, only exist.
 */
function slice(
  name: string,
  { shape, data }: Shaped,
  rows: Kept,
  columns: Kept,
  scales?: ArrayLike<number>,
): NamedTensor {
  const [height, width] = shape;
  if (height === undefined || width === undefined || shape.length !== 2)
    throw badAdapter(`${name} is not a matrix`);
  if (rows?.some((row) => row >= height) || columns?.some((column) => column >= width))
    throw badPlan(`the plan keeps more than the [${height}, ${width}] of ${name}`);
  const down = rows ?? Array.from({ length: height }, (_, i) => i);
  const across = columns ?? Array.from({ length: width }, (_, i) => i);
  const result = new Float32Array(down.length * across.length);
  let at = 0;
  for (const row of down)
    for (const [i, column] of across.entries())
      result[at++] = data[row * width + column]! * (scales?.[i] ?? 1);
  return { name, shape: [down.length, across.length], data: result };
}

/** What stays of a module's inputs and outputs where its layer loses heads and neurons. */
function keptOf(
  site: string,
  layer: Plan['layers'][number],
  headSize: number,
): { inputs: Kept; outputs: Kept } {
  const heads = () =>
    layer.heads.flatMap((head) => Array.from({ length: headSize }, (_, i) => head * headSize + i));
  switch (site) {
    case 'query':
    case 'key':
    case 'value':
      return { inputs: undefined, outputs: heads() };
    case 'attention.output':
      return { inputs: heads(), outputs: undefined };
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
  headSize: number,
  delta: BaseDelta | null,
): ArrayLike<number> | undefined {
  if (site === 'output') return delta?.get(`layers.${layer}.neuron_scale`)?.data;
  const heads = site === 'attention.output' ? delta?.get(`layers.${layer}.head_scale`)?.data : undefined;
  return (
    heads &&
    Float32Array.from({ length: heads.length * headSize }, (_, i) => heads[Math.floor(i / headSize)]!)
  );
}

/**
 * What a plan leaves of an adapter for the whole base. The head stays, as the hidden size does.
 * @param siteOf the layer and, of it, query, key, value, attention.output, intermediate or output
 * @param delta scales that the base folds in; those of a module's inputs go into its A
 * @throws {LightPeftError} BAD_PLAN: a module, a rank, a head or a neuron of the plan is not in the adapter;
 *   BAD_ADAPTER: a tensor belongs to neither LoRA nor the head
 */
export function cutAdapter(
  tensors: ReadonlyMap<string, Shaped>,
  plan: Plan,
  headSize: number,
  siteOf: SiteOf,
  delta: BaseDelta | null = null,
): NamedTensor[] {
  const result: NamedTensor[] = [];
  for (const { name, ranks } of plan.modules) {
    const [nameA, nameB] = [`${name}.lora_A.weight`, `${name}.lora_B.weight`] as const;
    const [a, b] = [tensors.get(nameA), tensors.get(nameB)];
    if (!a || !b) throw badPlan(`the plan keeps ${name}, which is not in the adapter`);
    const place = siteOf(name);
    if (!place) throw badPlan(`the plan keeps ${name}, which is not among the target modules`);
    const { layer, site } = place;
    const kept = plan.layers[layer];
    if (!kept) throw badPlan(`the plan keeps ${name}, but has ${plan.layers.length} layers only`);
    const missing = ranks.find((rank) => rank >= (a.shape[0] ?? 0));
    if (missing !== undefined)
      throw badPlan(`the plan keeps rank ${missing} of ${name}, which has ${a.shape[0] ?? 0}`);
    const { inputs, outputs } = keptOf(site, kept, headSize);
    const scales = scalesOf(site, layer, headSize, delta);
    result.push(slice(nameA, a, ranks, inputs, scales), slice(nameB, b, outputs, ranks));
  }
  for (const [name, { shape, data }] of tensors) {
    if (name.startsWith('classifier.')) result.push({ name, shape: [...shape], data });
    // Masks serve training alone; modules that the plan does not name go.
    else if (!loraPart(name) && !name.startsWith('masks.')) throw badAdapter(`${name} is unknown`);
  }
  return result;
}
