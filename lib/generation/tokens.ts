import { packBatch } from '../data/batches.ts';
import type { Session } from '../engine.ts';
import { LightPeftError } from '../errors.ts';

/** What is generated, how far, and where it may end. */
export interface GenerationOptions {
  maxNewTokens: number;
  /** A sequence ends after one of these, which is left out of what is given back. */
  ends: ReadonlySet<number>;
  /** In the vocabulary. */
  vocab: number;
  signal?: AbortSignal | undefined;
}

/** @throws {LightPeftError} ABORTED */
export function checkGoesOn(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw new LightPeftError('ABORTED', 'stopped before the texts were finished');
}

const rowOf = (logits: Float32Array, row: number, vocab: number): Float32Array =>
  logits.subarray(row * vocab, (row + 1) * vocab);

/** Goes on with tokens of each sequence; the logits of what comes next, by sequence. */
export async function advance(
  session: Session,
  tokens: readonly (readonly number[])[],
  vocab: number,
): Promise<Float32Array[]> {
  const items = tokens.map((ids, idx) => ({
    ids: Int32Array.from(ids),
    typeIds: new Int32Array(ids.length),
    truncated: false,
    ...{ idx, label: NaN },
  }));
  const logits = await session.next(packBatch(items));
  if (!logits.every((value) => value === value))
    throw new LightPeftError('NOT_FINITE', 'the model gives logits that are not numbers');
  return tokens.map((_, b) => rowOf(logits, b, vocab));
}

/** The place of the largest; the first of equal ones. */
export function greatest(values: Float32Array): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i]! > values[best]!) best = i;
  return best;
}

/**
 * Continues prompts, all at once whatever their lengths, a token at a time.
 * @param choose the next token of a prompt from its logits [vocab]
 * @returns of each prompt the new tokens
 */
export async function continued(
  session: Session,
  prompts: readonly (readonly number[])[],
  choose: (logits: Float32Array, prompt: number) => number,
  { maxNewTokens, ends, vocab, signal }: GenerationOptions,
): Promise<number[][]> {
  const results = prompts.map((): number[] => []);
  // Which prompts are still being continued, in the order of the session's sequences.
  let alive = prompts.map((_, i) => i);
  await session.begin(prompts.length);
  let logits = await advance(session, prompts, vocab);
  for (let step = 0; step < maxNewTokens && alive.length > 0; step++) {
    checkGoesOn(signal);
    const chosen = alive.map((prompt, b) => choose(logits[b]!, prompt));
    const left = alive.map((_, b) => b).filter((b) => !ends.has(chosen[b]!));
    for (const b of left) results[alive[b]!]!.push(chosen[b]!);
    if (left.length < alive.length) await session.choose(left);
    alive = left.map((b) => alive[b]!);
    const next = left.map((b) => [chosen[b]!]);
    if (step + 1 < maxNewTokens && alive.length > 0) logits = await advance(session, next, vocab);
  }
  return results;
}
