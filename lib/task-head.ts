import { readTensors, type Tensor } from './checkpoint/safetensors.ts';
import type { Checkpoint } from './checkpoint/folder.ts';
import { type LabelSet, outputsFor } from './data/labels.ts';
import type { Session } from './engine.ts';
import type { Workbench } from './workbench.ts';

/** The checkpoint's own task head, by the names that the engine has for its parameters; empty where it has none. */
export async function taskHeadOf({ head }: Checkpoint): Promise<Map<string, Tensor>> {
  const own = new Map<string, Tensor>();
  for (const file of new Set([...head.values()].map((info) => info.file)))
    for (const [name, tensor] of await readTensors(file, (each) => head.has(each))) own.set(name, tensor);
  return own;
}

/** How many outputs a head has. */
export const outputsOf = (head: ReadonlyMap<string, { shape: readonly number[] }>): number | undefined =>
  head.get('classifier.out_proj.bias')?.shape[0];

/** Gives a session the checkpoint's own task head where that fits, and says what happened. */
export async function startHead(bench: Workbench, session: Session, labels: LabelSet): Promise<void> {
  const { checkpoint, settings, note } = bench;
  const outputs = outputsFor(labels);
  const own = await taskHeadOf(checkpoint);
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
