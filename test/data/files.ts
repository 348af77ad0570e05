import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { LightPeftError } from '../../lib/errors.ts';

/** A folder of its own for each test. */
export class Files {
  readonly folder = mkdtempSync(join(tmpdir(), 'light-peft-data-'));

  write(name: string, content: string | Uint8Array): string {
    const file = join(this.folder, name);
    writeFileSync(file, content);
    return file;
  }

  dispose(): void {
    rmSync(this.folder, { recursive: true });
  }
}

/** "CODE message" of the LightPeftError that `work` ends with, without the folder's name. */
export const failure = async (work: () => unknown, folder?: string): Promise<string> => {
  try {
    await work();
  } catch (error) {
    if (!(error instanceof LightPeftError)) throw error;
    const told = `${error.code} ${error.message}`;
    return folder === undefined ? told : told.replaceAll(`${folder}/`, '');
  }
  throw new Error('nothing was thrown');
};
