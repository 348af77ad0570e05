import { execFile } from 'node:child_process';
import { join } from 'node:path';
import type { Report } from '../lib/index.ts';

/** Runs a command of the command line in a process of its own: peak memory never falls within one. */
export const runPhase = (root: string, name: string, flags: string[]): Promise<Report> =>
  new Promise((resolve, reject) => {
    const args = ['--import', 'tsx', join(root, 'scripts/cli.ts'), name, ...flags, '--json'];
    const child = execFile(process.execPath, args, { cwd: root }, (error, stdout) =>
      error ? reject(new Error(`${name} failed`, { cause: error })) : resolve(JSON.parse(stdout) as Report),
    );
    child.stderr?.pipe(process.stderr);
  });
