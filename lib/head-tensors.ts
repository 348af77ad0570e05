import { type Checkpoint } from './checkpoint/folder.ts';
import { readPlaced, type Tensor } from './checkpoint/safetensors.ts';
import type { NamedTensor } from './native.ts';

/** The checkpoint's own task head, or what it has of one, by the names that the engine has for its parameters. */
export const headOf = ({ head }: Checkpoint): Promise<Map<string, Tensor>> => readPlaced(head);

/** What of the head is a part of the base, and no PEFT run changes: BERT's pooler. */
export async function frozenHeadOf(checkpoint: Checkpoint): Promise<Pick<NamedTensor, 'name' | 'data'>[]> {
  if (!checkpoint.spec.head.frozen) return [];
  const own = await headOf(checkpoint);
  return [...own]
    .filter(([name]) => name.startsWith('classifier.dense.'))
    .map(([name, { data }]) => ({ name, data }));
}
