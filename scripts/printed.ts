import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

/** What a program prints, if it is there and content. */
export const printed = (program: string, args: string[], cwd: string): Promise<string | undefined> =>
  promisify(execFile)(program, args, { cwd }).then(
    ({ stdout }) => stdout.trim(),
    () => undefined,
  );

/** What tells it where the project has come without its history. */
export const COMMIT = 'COMMIT';

/** Of this project; `-dirty`: with changes. */
export const commitOf = (root: string): Promise<string | undefined> =>
  readFile(join(root, COMMIT), 'utf8').then(
    (text) => text.trim(),
    () => printed('git', ['describe', '--always', '--dirty', '--abbrev=40', '--exclude=*'], root),
  );
