import { type LabelSet, outputsFor } from './data/labels.ts';
import type { Session } from './engine.ts';
import { headOf } from './head-tensors.ts';
import type { Workbench } from './workbench.ts';

/** How many outputs a head has. */
export const outputsOf = (head: ReadonlyMap<string, { shape: readonly number[] }>): number | undefined =>
  head.get('classifier.out_proj.weight')?.shape[0];

/** Gives a session the checkpoint's own task head where that fits, and says what happened. */
export async function startHead(bench: Workbench, session: Session, labels: LabelSet): Promise<void> {
  const { checkpoint, settings, note } = bench;
  if (labels.kind === 'tokens') return;
  const outputs = outputsFor(labels);
  const own = await headOf(checkpoint);
  const found = outputsOf(own);
  if (found === outputs) {
    await session.setTensors([...own].map(([name, { data }]) => ({ name, data })));
    return;
  }
  const why =
    found === undefined ? 'has no task head' : `has a task head of ${found} outputs, not ${outputs}`;
  // A resumed run has its head in its state.
  if (!settings.resume) note(`the checkpoint ${why}; a new one is initialised from seed ${settings.seed}`);
}
