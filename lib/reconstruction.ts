import type { Adapter } from './adapter/compensation.ts';
import { type BaseDelta, corrections, layerCuts } from './adapter/delta.ts';
import { BatchSampler, packBatch, type PackedBatch } from './data/batches.ts';
import type { Dataset } from './data/dataset.ts';
import type { ModuleConfig, NamedTensor } from './native.ts';
import type { Settings } from './options.ts';
import type { Estimate } from './plan/estimate-file.ts';
import type { Plan } from './plan/plan.ts';
import type { Workbench } from './workbench.ts';

/** At least: a regression on a layer's neurons wants some times as many. */
const TOKENS = 8192;

/** Training texts, drawn as the first epoch draws them. */
function sample({ checkpoint, settings }: Workbench, { examples }: Dataset): PackedBatch[] {
  const wanted = Math.max(TOKENS, 2 * checkpoint.spec.ffn);
  const sampler = new BatchSampler(examples.length, settings.batchSize, settings.seed);
  const batches: PackedBatch[] = [];
  let tokens = 0;
  for (const { indices } of sampler.epoch({ epoch: 0, position: 0 })) {
    const batch = packBatch([...indices].map((i) => examples[i]!));
    batches.push(batch);
    if ((tokens += batch.ids.length) >= wanted) break;
  }
  return batches;
}

/** What the adapter was trained beside: masks where they are kept, nothing where an earlier cut took what there was. */
function trainedMasks({ foldMasks }: Settings, { masks }: Estimate): Estimate['masks'] {
  const was = (values: Float32Array) =>
    values.map((value) => (Number.isNaN(value) ? 0 : foldMasks ? value : 1));
  return { heads: masks.heads.map(was), neurons: masks.neurons.map(was) };
}

/** What a Plan leaves of a base and its adapter. */
export interface Cut {
  plan: Plan;
  estimate: Estimate;
  adapter: Adapter;
  /** That are folded into the base. */
  scales: BaseDelta | null;
  modules: ModuleConfig[];
  /** What is left of the adapter, for these modules. */
  tensors: NamedTensor[];
}

const keepsAll = ({ plan, tensors, adapter }: Cut, { checkpoint: { spec } }: Workbench): boolean =>
  plan.layers.every(({ heads, neurons }) => heads.length === spec.heads && neurons.length === spec.ffn) &&
  tensors.every(({ name, data }) => data.length === adapter.get(name)?.data.length) &&
  tensors.length === adapter.size;

/**
 * What a Plan changes in what is left of the base, with what the cut takes from the outputs of attention and FFN, told by
 * least squares from what it leaves (native/train/reconstruction.h): low-rank corrections of the weights there, and shifts
 * of their biases.
 */
export async function mended(bench: Workbench, data: Dataset, cut: Cut): Promise<BaseDelta | null> {
  const { model, settings } = bench;
  if (keepsAll(cut, bench)) return cut.scales;
  using small = await model.cut(layerCuts(cut.plan, cut.scales), { threads: settings.threads });
  using light = bench.session(small, data.labels, cut.modules);
  await light.setTensors(cut.tensors);
  using whole = bench.session(model, data.labels, bench.modules(), { masks: true });
  await whole.setTensors([...cut.adapter].map(([name, { data: values }]) => ({ name, data: values })));
  const masks = trainedMasks(settings, cut.estimate);
  for (const kind of ['heads', 'neurons'] as const)
    await whole.setTensors(masks[kind].map((values, l) => ({ name: `masks.${l}.${kind}`, data: values })));
  const layers = await whole.reconstruct(light, sample(bench, data), settings.compensationRank);
  const delta = new Map([...(cut.scales ?? []), ...corrections(layers)]);
  return delta.size > 0 ? delta : null;
}
