import { LightPeftError } from '../errors.ts';
import type { Encoded } from '../tokenizer.ts';
import { Random } from './random.ts';

export interface EncodedExample extends Encoded {
  idx: number;
  /** Class index or value; NaN: unlabelled. */
  label: number;
  /** Of its sequences, where it has one for each choice. */
  lengths?: number[] | undefined;
  /** What a teacher makes of it: logits, and what its head reads of each sequence [h]. */
  teacherLogits?: Float32Array | undefined;
  /** What each token tells, where that is to be told: a tag, what comes after it or what was masked. */
  tokenLabels?: Int32Array | undefined;
  /** First and last token of a span, where one is to be told. */
  spans?: readonly [number, number] | undefined;
  teacherStates?: Float32Array | undefined;
}

/** B sequences of T tokens in all, one behind the other, without padding; N examples, which have as many sequences each. */
export interface PackedBatch {
  ids: Int32Array; // [T]
  typeIds: Int32Array; // [T]
  /** Sequence b is the tokens cuSeqlens[b] to cuSeqlens[b + 1], the latter excluded. */
  cuSeqlens: Int32Array; // [B + 1]
  labels: Float32Array; // [N]; class index or value, NaN when unlabelled
  /** [T] where tokens tell something; -100: that one does not count. */
  tokenLabels?: Int32Array;
  /** [2 * B] where spans are told: first and last token of each sequence's. */
  spans?: Int32Array;
  /** Whether tokens see none that come after them, whatever the model is. */
  causal?: boolean;
  idx: Int32Array; // [N]
  /** Of the longest sequence, in tokens. */
  maxLength: number;
  /** [N * logits] and [B * h], where all have them. */
  teacherLogits?: Float32Array;
  teacherStates?: Float32Array;
}

/** One array behind the other; undefined where one is missing. */
function joined(arrays: readonly (Float32Array | undefined)[]): Float32Array | undefined {
  const given = arrays.filter((array) => array !== undefined);
  if (given.length === 0 || given.length < arrays.length) return undefined;
  const each = given[0]!.length;
  const all = new Float32Array(given.length * each);
  given.forEach((array, i) => all.set(array, i * each));
  return all;
}

/** Lays the sequences of a batch end to end, in the order given. */
export const packBatch = (items: readonly EncodedExample[]): PackedBatch => {
  const total = items.reduce((sum, { ids }) => sum + ids.length, 0);
  const batch: PackedBatch = {
    ids: new Int32Array(total),
    typeIds: new Int32Array(total),
    cuSeqlens: new Int32Array(1 + items.reduce((sum, { lengths }) => sum + (lengths?.length ?? 1), 0)),
    labels: Float32Array.from(items, ({ label }) => label),
    idx: Int32Array.from(items, ({ idx }) => idx),
    maxLength: 0,
  };
  let end = 0;
  let sequences = 0;
  for (const { ids, typeIds, lengths } of items) {
    batch.ids.set(ids, end);
    batch.typeIds.set(typeIds, end);
    for (const length of lengths ?? [ids.length]) {
      end += length;
      batch.cuSeqlens[++sequences] = end;
      batch.maxLength = Math.max(batch.maxLength, length);
    }
  }
  if (items.length > 0 && items.every(({ tokenLabels }) => tokenLabels !== undefined))
    batch.tokenLabels = Int32Array.from(items.flatMap(({ tokenLabels }) => [...tokenLabels!]));
  if (items.length > 0 && items.every(({ spans }) => spans !== undefined))
    batch.spans = Int32Array.from(items.flatMap(({ spans }) => spans!));
  const teacherLogits = joined(items.map((item) => item.teacherLogits));
  const teacherStates = joined(items.map((item) => item.teacherStates));
  return { ...batch, ...(teacherLogits && { teacherLogits }), ...(teacherStates && { teacherStates }) };
};

/**
 * The order in which epoch `epoch` (0-based) takes n examples: a permutation of 0..n-1, each as likely (Fisher-Yates),
 * which depends on nothing but the three numbers, so that a resumed run need not store it.
 */
export const epochOrder = (n: number, seed: number, epoch: number): Uint32Array => {
  const order = Uint32Array.from({ length: n }, (_, i) => i);
  const random = new Random(seed, epoch);
  for (let i = n - 1; i > 0; i--) {
    const j = random.below(i + 1);
    [order[i], order[j]] = [order[j]!, order[i]!];
  }
  return order;
};

/** Cuts an order into batches; the last may be smaller. */
export function* inBatches(order: Uint32Array, batchSize: number, start = 0): Generator<Uint32Array> {
  for (let i = start; i < order.length; i += batchSize) yield order.subarray(i, i + batchSize);
}

/** Where a run stands: `position` examples of epoch `epoch` have been taken. */
export interface SamplerState {
  epoch: number;
  position: number;
}

export interface SampledBatch {
  indices: Uint32Array;
  /** Where to go on after this batch. */
  next: SamplerState;
}

/** Shuffled batches of the indices 0..size-1, anew in each epoch. */
export class BatchSampler {
  readonly size: number;
  readonly batchSize: number;
  readonly seed: number;

  constructor(size: number, batchSize: number, seed: number) {
    if (!Number.isInteger(batchSize) || batchSize < 1)
      throw new LightPeftError('BAD_OPTION', `the batch size must be a positive integer, not ${batchSize}`);
    if (!Number.isSafeInteger(seed))
      throw new LightPeftError('BAD_OPTION', `the seed must be an integer, not ${seed}`);
    this.size = size;
    this.batchSize = batchSize;
    this.seed = seed;
  }

  get batchesPerEpoch(): number {
    return Math.ceil(this.size / this.batchSize);
  }

  /**
   * The batches of `state.epoch` that are left, the last partial one included.
   * @throws {LightPeftError} BAD_STATE: no run over this many examples can stand there
   */
  *epoch({ epoch, position }: SamplerState): Generator<SampledBatch> {
    const possible = [epoch, position].every((n) => Number.isSafeInteger(n) && n >= 0);
    if (!possible || position > this.size)
      throw new LightPeftError('BAD_STATE', `no epoch ${epoch} of ${this.size} examples is at ${position}`);
    let taken = position;
    for (const indices of inBatches(epochOrder(this.size, this.seed, epoch), this.batchSize, position)) {
      taken += indices.length;
      const done = taken === this.size;
      yield { indices, next: done ? { epoch: epoch + 1, position: 0 } : { epoch, position: taken } };
    }
  }
}
