import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

/** What a program prints, if it is there and content. */
export const printed = (program: string, args: string[], cwd: string): Promise<string | undefined> =>
  promisify(execFile)(program, args, { cwd }).then(
    ({ stdout }) => stdout.trim(),
    () => undefined,
  );

/** Of this project; `-dirty`: with changes. */
export const commitOf = (root: string): Promise<string | undefined> =>
  printed('git', ['describe', '--always', '--dirty', '--abbrev=40', '--exclude=*'], root);
