import { open, stat, type FileHandle } from 'node:fs/promises';
import { LightPeftError, messageOf } from '../errors.ts';

const bad = (message: string, cause?: unknown) => new LightPeftError('BAD_CHECKPOINT', message, { cause });

/** What a failed call of node:fs means. */
export const fsError = (file: string, error: unknown): LightPeftError => {
  if (error instanceof LightPeftError) return error;
  if ((error as NodeJS.ErrnoException).code === 'ENOENT') return bad(`${file}: no such file`, error);
  return new LightPeftError('IO', `${file}: ${messageOf(error)}`, { cause: error });
};

/** A file opened for reads at absolute positions. */
export class ExactReader {
  readonly file: string;
  readonly size: number;
  readonly #handle: FileHandle;

  private constructor(file: string, size: number, handle: FileHandle) {
    this.file = file;
    this.size = size;
    this.#handle = handle;
  }

  static async open(file: string): Promise<ExactReader> {
    const refuse = (error: unknown): never => {
      throw fsError(file, error);
    };
    // Before it is opened, which would wait for whoever writes into a pipe.
    const before = await stat(file).catch(refuse);
    if (!before.isFile()) throw bad(`${file}: this is not a file`);
    const handle = await open(file).catch(refuse);
    try {
      return new ExactReader(file, (await handle.stat()).size, handle);
    } catch (error) {
      await handle.close();
      throw fsError(file, error);
    }
  }

  /** Exactly `length` bytes, in memory that is theirs alone, so that any typed array can view it. */
  async read(position: number, length: number): Promise<Uint8Array<ArrayBuffer>> {
    const bytes = new Uint8Array(length);
    let done = 0;
    while (done < length) {
      // One call of read() moves at most 2 GiB.
      const piece = Math.min(length - done, 1 << 30);
      const { bytesRead } = await this.#handle
        .read(bytes, done, piece, position + done)
        .catch((error: unknown) => {
          throw fsError(this.file, error);
        });
      if (bytesRead === 0) throw bad(`${this.file}: the file is truncated`);
      done += bytesRead;
    }
    return bytes;
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }
}
