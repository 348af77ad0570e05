import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type DemoExample, generateTask } from '../../demo/task.ts';
import { expect } from 'chai';
import type { Options, RunOptions } from '../../lib/index.ts';

export const ENCODER = join(import.meta.dirname, '../../demo/encoder');

/** A folder with a small task in it, for the time of one describe(). */
export class Folder {
  readonly path = mkdtempSync(join(tmpdir(), 'light-peft-'));

  file(...parts: string[]): string {
    return join(this.path, ...parts);
  }

  bytes(...parts: string[]): Buffer {
    return readFileSync(this.file(...parts));
  }

  write(name: string, content: string | Uint8Array): string {
    writeFileSync(this.file(name), content);
    return this.file(name);
  }

  /** Options of a run of 12 steps. */
  options(changes: Partial<Options> = {}): Options {
    const { train, validation } = generateTask({ seed: 3, train: 48, validation: 24 });
    const lines = (examples: DemoExample[]) => examples.map((row) => `${JSON.stringify(row)}\n`).join('');
    return {
      model: ENCODER,
      trainFile: this.write('train.jsonl', lines(train)),
      validationFile: this.write('validation.jsonl', lines(validation)),
      batchSize: 8,
      epochs: 2,
      learningRate: 1e-3,
      threads: 1,
      ...changes,
    };
  }

  remove(): Promise<void> {
    return rm(this.path, { recursive: true });
  }
}

/** The error that work ends with. */
export async function errorOf(work: Promise<unknown>): Promise<{ code?: string; message: string }> {
  try {
    await work;
  } catch (error) {
    return error as Error;
  }
  throw new Error('this should have failed');
}

/** Runs until that step, and is stopped there: what it says. */
export async function stopAt(step: number, work: (run: RunOptions) => Promise<unknown>): Promise<string> {
  const abort = new AbortController();
  const stopped = work({
    signal: abort.signal,
    onProgress: (progress) => {
      if (progress.step >= step) abort.abort();
    },
  });
  const { code, message } = await errorOf(stopped);
  expect(code).equal('ABORTED');
  return message;
}
