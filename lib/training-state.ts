import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import type { BaseDelta } from './adapter/delta.ts';
import { readBytes, readHeader, readTensors, safetensorsFile } from './checkpoint/safetensors.ts';
import type { EncodedExample } from './data/batches.ts';
import { LightPeftError, messageOf } from './errors.ts';
import type { Position } from './fit.ts';
import type { SessionState } from './native.ts';
import { flagOf, type Settings } from './options.ts';
import { removeFile } from './result-folder.ts';
import { writeTogether } from './whole-file.ts';

/** Options without influence on what a run computes; `model`, `trainFile` and `from` are compared by content. */
const FREE: readonly (keyof Settings)[] = [
  ...([
    'model',
    'trainFile',
    'validationFile',
    'input',
    'from',
    'teacher',
    'adapter',
    'out',
    'resume',
  ] as const),
  ...(['saveSteps', 'threads', 'metric', 'task', 'completionColumn'] as const),
  ...(['prompt', 'maxNewTokens', 'sample', 'temperature', 'topK', 'topP', 'beams', 'lengthPenalty'] as const),
];

export const STATE = 'training_state.safetensors';
/** What the cut of an interrupted run changes in its base, which other threads would make somewhat otherwise. */
const STATE_DELTA = 'training_delta.safetensors';

/**
 * That of the run that is to go on from `out`; undefined where there is none.
 * @throws {LightPeftError} BAD_STATE: it cannot be read
 */
export async function interruptedDelta(out: string): Promise<BaseDelta | undefined> {
  const file = join(out, STATE_DELTA);
  if (!existsSync(file) || !existsSync(join(out, STATE))) return undefined;
  try {
    return await readTensors(file);
  } catch (error) {
    throw new LightPeftError('BAD_STATE', messageOf(error), { cause: error });
  }
}

/** What a run depends on, in texts that can be compared. */
export type Identity = Record<string, string>;

/** The options that influence what is computed, by flag. */
export function optionsIdentity(settings: Settings): Identity {
  const options = Object.entries(settings).filter(([name]) => !FREE.includes(name as keyof Settings));
  return Object.fromEntries(options.map(([name, value]) => [flagOf(name), JSON.stringify(value) ?? '']));
}

function digestOf(examples: readonly EncodedExample[]): string {
  const data = createHash('sha256');
  for (const { ids, typeIds, label, tokenLabels, spans = [] } of examples) {
    data
      .update(ids)
      .update(typeIds)
      .update(Float64Array.of(label, ...spans));
    if (tokenLabels) data.update(tokenLabels);
  }
  return data.digest('hex');
}

export const identityOf = (
  phase: string,
  base: string,
  settings: Settings,
  examples: readonly EncodedExample[],
): Identity => ({ phase, base, data: digestOf(examples), ...optionsIdentity(settings) });

/** Of the batches that runs take one after the other: those of two runs are the same where this is. */
export const batchesIdentity = (
  { batchSize, gradientAccumulationSteps, seed }: Settings,
  examples: readonly EncodedExample[],
): string => [batchSize, gradientAccumulationSteps, seed, digestOf(examples)].join(' ');

export const IDENTITY: z.ZodType<Identity> = z.record(z.string(), z.string());

/** In what a run to resume is another one; undefined: in nothing. */
export function differenceOf(found: Identity, own: Identity): string | undefined {
  const what = Object.keys({ ...own, ...found }).find((name) => found[name] !== own[name]);
  if (what === undefined) return undefined;
  const values = what === 'data' ? '' : `: ${found[what] ?? 'nothing'}, not ${own[what] ?? 'nothing'}`;
  return `the run to resume had another ${what}${values}`;
}

const count = z.int().nonnegative();
const POSITION: z.ZodType<Position> = z.strictObject({
  step: count,
  epoch: count,
  position: count,
  tokens: count,
  seconds: z.number().nonnegative(),
  early: z.unknown().optional(),
});

/** The file of a run that was interrupted, or is to survive an interruption: everything that it needs to go on. */
export class TrainingState {
  readonly file: string;
  private readonly deltaFile: string;
  private deltaIsThere = false;
  /** Whether `out` has a result that is not this run's, and worth more than a part of it. */
  keeps = false;

  constructor(
    out: string,
    private readonly identity: Identity,
    private readonly delta?: BaseDelta,
  ) {
    this.file = join(out, STATE);
    this.deltaFile = join(out, STATE_DELTA);
  }

  /** The same in another folder. */
  in(folder: string): TrainingState {
    if (join(folder, STATE) === this.file) return this;
    const other = new TrainingState(folder, this.identity, this.delta);
    other.keeps = this.keeps;
    return other;
  }

  /** Whether what is in the folder is no mere part of the run whose state is there, or there is none. */
  async keptAnother(): Promise<boolean> {
    if (!this.exists) return true;
    const header = await readHeader(this.file).catch(() => undefined);
    return header?.metadata['keeps'] !== 'false';
  }

  get exists(): boolean {
    return existsSync(this.file);
  }

  async write(position: Position, { tensors }: SessionState): Promise<void> {
    const bytes = Object.entries(tensors).map(
      ([name, data]) => [name, { shape: [data.length], data }] as const,
    );
    const identity = JSON.stringify(this.identity);
    const state = safetensorsFile(this.file, new Map(bytes), {
      identity,
      position: JSON.stringify(position),
      keeps: String(this.keeps),
    });
    // Once: a state alone takes an earlier one's place in one step.
    const files =
      this.delta && !this.deltaIsThere
        ? [safetensorsFile(this.deltaFile, this.delta, { format: 'pt' }), state]
        : [state];
    await writeTogether(files);
    this.deltaIsThere = true;
  }

  /** @throws {LightPeftError} BAD_STATE: there is none, it cannot be read, or it is another run's */
  async read(): Promise<{ position: Position; state: SessionState }> {
    const bad = (why: string, cause?: unknown) =>
      new LightPeftError('BAD_STATE', `${this.file}: ${why}`, { cause });
    if (!this.exists) throw bad('there is no interrupted run to resume; one that has ended leaves none');
    try {
      const { metadata } = await readHeader(this.file);
      const found = IDENTITY.parse(JSON.parse(metadata['identity'] ?? ''));
      const other = differenceOf(found, this.identity);
      if (other !== undefined) throw bad(other);
      const tensors = Object.fromEntries(await readBytes(this.file));
      const position = POSITION.parse(JSON.parse(metadata['position'] ?? ''));
      this.deltaIsThere = true;
      this.keeps = metadata['keeps'] !== 'false';
      return { position, state: { stepsDone: position.step, tensors } };
    } catch (error) {
      if (error instanceof LightPeftError && error.code === 'BAD_STATE') throw error;
      if (error instanceof LightPeftError)
        throw new LightPeftError('BAD_STATE', error.message, { cause: error });
      throw bad(error instanceof z.ZodError ? 'it is malformed' : messageOf(error), error);
    }
  }

  async remove(): Promise<void> {
    await removeFile(this.file);
    await removeFile(this.deltaFile);
  }
}
