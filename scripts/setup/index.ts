import { LightPeftError, messageOf } from '../../lib/errors.ts';
import { recordedAddon, upToDateAddon, usable } from './current.ts';
import { wantsCuda } from './cuda.ts';
import { buildDist } from './dist.ts';
import { type Log, logToStderr } from './log.ts';

/** Brings the addon and dist/ up to date. Says nothing, and starts no process, when they are. */
export async function setUp(log: Log = logToStderr): Promise<void> {
  if (upToDateAddon() === undefined) {
    // Only now: reading these modules takes longer than the check that they are not needed.
    const { buildAddon } = await import('./addon.ts');
    const { findLibTorch } = await import('./libtorch.ts');
    // A LibTorch once chosen stays chosen: editing a source must not move a build to another one.
    const known = recordedAddon()?.libtorch;
    const stays = known !== undefined && usable(known) && (known.cuda || !wantsCuda());
    await buildAddon(stays ? known : await findLibTorch(log), log);
  }
  await buildDist(log);
}

/** The work of a command: what fails is one line, and exit status 2. */
export async function orExit(work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    const code = error instanceof LightPeftError ? error.code : 'INTERNAL';
    logToStderr(`[${code}] ${messageOf(error)}`);
    process.exit(2);
  }
}

export const runSetUpOrExit = (): Promise<void> => orExit(setUp);
