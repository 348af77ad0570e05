import type { Tensor } from './checkpoint/safetensors.ts';
import { type LabelSet, outputsFor } from './data/labels.ts';
import type { Session } from './engine.ts';
import { headOf } from './head-tensors.ts';
import type { Workbench } from './workbench.ts';

/** How many outputs a head has. */
export const outputsOf = (head: ReadonlyMap<string, { shape: readonly number[] }>): number | undefined =>
  head.get('classifier.out_proj.weight')?.shape[0];

/** Where each label's output is in a head for the same names in another order; undefined: in the same place. */
function orderOf(labels: LabelSet, names: readonly string[] | null): number[] | undefined {
  if ((labels.kind !== 'classes' && labels.kind !== 'tags') || names === null) return undefined;
  const places = labels.names.map((name) => names.indexOf(name));
  return places.includes(-1) || new Set(places).size < names.length ? undefined : places;
}

function reordered(name: string, { data }: Tensor, order: readonly number[] | undefined): Float32Array {
  if (order === undefined || !name.startsWith('classifier.out_proj.')) return data;
  const width = data.length / order.length;
  const other = new Float32Array(data.length);
  for (const [i, place] of order.entries())
    other.set(data.subarray(place * width, (place + 1) * width), i * width);
  return other;
}

/** Gives a session the checkpoint's own task head where that fits, and says what happened. */
export async function startHead(bench: Workbench, session: Session, labels: LabelSet): Promise<void> {
  const { checkpoint, settings, note } = bench;
  if (labels.kind === 'tokens') return;
  const outputs = outputsFor(labels);
  const own = await headOf(checkpoint);
  const found = outputsOf(own);
  if (found === outputs) {
    const order = orderOf(labels, checkpoint.labels);
    await session.setTensors(
      [...own].map(([name, tensor]) => ({ name, data: reordered(name, tensor, order) })),
    );
    return;
  }
  const why =
    found === undefined ? 'has no task head' : `has a task head of ${found} outputs, not ${outputs}`;
  // A resumed run has its head in its state.
  if (!settings.resume) note(`the checkpoint ${why}; a new one is initialised from seed ${settings.seed}`);
}
