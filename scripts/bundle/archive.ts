import { randomUUID } from 'node:crypto';
import { renameSync, rmSync, statSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { LightPeftError } from '../../lib/errors.ts';
import { makeFolder } from '../../lib/result-folder.ts';
import { setupFailed } from '../setup/failure.ts';
import { lastWord, runProgram, which } from '../setup/program.ts';

/** One dictionary over all of it, and a filter for the jumps of x86 code, which most of it is. */
const xz = 'xz --threads=1 --x86 --lzma2=preset=9,dict=128MiB';

export const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`;

/** Packs a folder, itself included, into a .tar.xz of at most `limit` bytes. Returns how many they are. */
export async function pack(folder: string, file: string, limit: number): Promise<number> {
  const lack = ['tar', 'xz'].find((tool) => which(tool) === undefined);
  if (lack !== undefined) throw setupFailed(`no ${lack} found, which makes the archive`);
  // Known now, and not when all is packed.
  if (statSync(file, { throwIfNoEntry: false })?.isDirectory())
    throw new LightPeftError('IO', `${file} is a folder`);
  await makeFolder(dirname(file));
  // In the same folder, as a rename cannot cross file systems.
  const part = `${file}.${randomUUID()}.tmp`;
  try {
    const owner = ['--owner=0', '--group=0', '--numeric-owner'];
    const what = ['--sort=name', `--directory=${dirname(folder)}`, basename(folder)];
    const args = ['--create', `--file=${part}`, `--use-compress-program=${xz}`, ...owner, ...what];
    const outcome = await runProgram('tar', args);
    if (!outcome.ok) throw setupFailed(`tar failed: ${lastWord(outcome.output)}`);
    const { size } = statSync(part);
    if (size > limit)
      throw setupFailed(
        `${basename(file)} would have ${megabytes(size)}; at most ${megabytes(limit)} are allowed`,
      );
    renameSync(part, file);
    return size;
  } finally {
    rmSync(part, { force: true });
  }
}
