import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { LightPeftError } from '../../lib/errors.ts';

const FIXTURES = fileURLToPath(new URL('../fixtures/', import.meta.url));

export const TINY = join(FIXTURES, 'roberta-tiny/base');
export const ADAPTER = join(FIXTURES, 'roberta-tiny/adapter/adapter_model.safetensors');
export const form = (name: string) => join(FIXTURES, 'checkpoint-forms', name);

type Entries = Record<string, { dtype: string; shape: number[]; data_offsets: number[] }>;
type Json = Record<string, unknown>;

/** A .safetensors file's header as it is in the file, and the bytes after it. */
export function takeApart(file: string): { header: Entries; body: Buffer } {
  const all = readFileSync(file);
  const start = 8 + Number(all.readBigUInt64LE());
  return { header: JSON.parse(all.toString('utf8', 8, start)) as Entries, body: all.subarray(start) };
}

export function putTogether(header: unknown, body: Uint8Array): Buffer {
  const text = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  return Buffer.concat([length, text, body]);
}

/** A folder of its own for each test, in which copies of fixtures can be broken. */
export class Broken {
  readonly folder = mkdtempSync(join(tmpdir(), 'light-peft-checkpoint-'));

  path(name: string): string {
    return join(this.folder, name);
  }

  write(name: string, content: string | Uint8Array): string {
    writeFileSync(this.path(name), content);
    return this.path(name);
  }

  copy(checkpoint: string): string {
    cpSync(checkpoint, this.folder, { recursive: true });
    return this.folder;
  }

  /** A copy with a part of its config.json changed; undefined takes a key away. */
  withConfig(checkpoint: string, change: Json): string {
    this.copy(checkpoint);
    const config = JSON.parse(readFileSync(this.path('config.json'), 'utf8')) as Json;
    this.write('config.json', JSON.stringify({ ...config, ...change }));
    return this.folder;
  }

  /** A copy with another header over the same bytes. */
  withHeader(checkpoint: string, change: (header: Entries) => void): string {
    this.copy(checkpoint);
    const { header, body } = takeApart(this.path('model.safetensors'));
    change(header);
    this.write('model.safetensors', putTogether(header, body));
    return this.folder;
  }

  dispose(): void {
    rmSync(this.folder, { recursive: true });
  }

  /** "CODE message" of the LightPeftError that `work` ends with, without the folder's name. */
  async failure(work: () => unknown): Promise<string> {
    try {
      await work();
    } catch (error) {
      if (!(error instanceof LightPeftError)) throw error;
      return `${error.code} ${error.message}`.replaceAll(`${this.folder}/`, '').replaceAll(this.folder, '.');
    }
    throw new Error('nothing was thrown');
  }
}
