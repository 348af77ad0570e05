import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { lstat, mkdir, mkdtemp, readdir, realpath, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { LightPeftError, messageOf } from './errors.ts';
import { withLock } from './lock.ts';
import { finishSaving, ioError, isBeingSaved, isIo, isOfSystem } from './whole-file.ts';

/** What a path leads to, without links; where nothing is there, as it is said. */
export const placeOf = (path: string): Promise<string> => realpath(path).catch(() => resolve(path));

export const isSamePlace = async (a: string, b: string): Promise<boolean> =>
  (await placeOf(a)) === (await placeOf(b));

/** Node's own `recursive` never ends where a parent is there and yet nothing can be made in it, as in /proc. */
async function makeEach(folder: string): Promise<void> {
  if (existsSync(folder)) return;
  const parent = dirname(resolve(folder));
  if (parent !== resolve(folder)) await makeEach(parent);
  await mkdir(folder).catch((error: NodeJS.ErrnoException) => {
    // Another may have made it meanwhile.
    if (error.code !== 'EEXIST') throw error;
  });
}

/**
 * A folder in which files can be written, which is tried, for what takes long should not fail at its end.
 * @throws {LightPeftError} IO
 */
export async function makeFolder(folder: string): Promise<void> {
  const trial = join(folder, `${randomUUID()}.tmp`);
  try {
    await makeEach(folder);
    await writeFile(trial, '');
    await rm(trial);
  } catch (error) {
    throw ioError(folder, error);
  }
}

const TEMPORARY = /\.?[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\.tmp$/;
const HOUR = 3_600_000;

/** Takes away what a process that was killed has left; another may be writing what is younger. */
async function sweep(folder: string): Promise<void> {
  for (const name of await readdir(folder)) {
    if (!TEMPORARY.test(name)) continue;
    const file = join(folder, name);
    // One that is gone meanwhile, or another's, is no concern of this process.
    const found = await lstat(file).catch(() => undefined);
    if (found?.isFile() && Date.now() - found.mtimeMs > HOUR) await rm(file).catch(() => undefined);
  }
}

/**
 * Runs what writes its results to a folder, once what a killed process has left there is ended or taken away.
 * @throws {LightPeftError} BAD_OPTION: another run is at it, whose results would be lost among these; IO
 */
export async function alone<T>(folder: string, work: () => Promise<T>): Promise<T> {
  let begun = false;
  const lock = join(folder, '.run.lock');
  return withLock(
    lock,
    (process) => {
      throw new LightPeftError('BAD_OPTION', `process ${process} is writing to ${folder}`);
    },
    async () => {
      begun = true;
      await finishSaving(folder);
      await sweep(folder).catch((error: unknown) => {
        throw ioError(folder, error);
      });
      return work();
    },
  ).catch((error: unknown) => {
    throw !begun && isOfSystem(error) ? ioError(lock, error) : error;
  });
}

/** Results are replaced within milliseconds, but by a process that was stopped. */
const PATIENCE_MS = 5000;

/**
 * Waits for another process that replaces a folder's results, or ends what one was killed at, before they are read.
 * @throws {LightPeftError} BAD_OPTION: another process is about it, and stays; IO
 */
export async function whole(folder: string): Promise<void> {
  for (const began = performance.now(); await isBeingSaved(folder); await sleep(20))
    await alone(folder, () => Promise.resolve()).catch((error: unknown) => {
      const busy = error instanceof LightPeftError && error.code === 'BAD_OPTION';
      if (!busy || performance.now() - began > PATIENCE_MS) throw error;
    });
}

const MOST_READINGS = 10;

/**
 * What `read` makes of a folder's results, none of which was replaced meanwhile.
 * @param sign the file that is written last
 * @throws {LightPeftError} IO: they are replaced again and again; and what `read` throws
 */
export async function readWhole<T>(folder: string, sign: string, read: () => Promise<T>): Promise<T> {
  const stampOf = () =>
    stat(join(folder, sign)).then(
      ({ ino, mtimeMs, ctimeMs }) => `${ino} ${mtimeMs} ${ctimeMs}`,
      () => '',
    );
  for (let readings = 0; readings < MOST_READINGS; readings++) {
    await whole(folder);
    const before = await stampOf();
    const steady = async () => !(await isBeingSaved(folder)) && (await stampOf()) === before;
    try {
      const found = await read();
      if (await steady()) return found;
    } catch (error) {
      if (await steady()) throw error;
    }
  }
  throw new LightPeftError('IO', `${folder}: its results are replaced again and again`);
}

/**
 * Saves to a folder or, where that fails, to one of its own among the system's temporary ones: what took long to make is not
 * lost with a full disk.
 * @throws {LightPeftError} IO: it is in the temporary folder, which the message names, or lost
 */
export async function savedSomewhere(folder: string, save: (folder: string) => Promise<void>): Promise<void> {
  try {
    await save(folder);
  } catch (error) {
    if (!isIo(error)) throw error;
    const failed = (where: string) =>
      new LightPeftError('IO', `${error.message}; what was to be saved is ${where}`, { cause: error });
    const other = await mkdtemp(join(tmpdir(), 'light-peft-')).catch(() => undefined);
    if (other === undefined) throw failed('lost');
    await save(other).catch(async (again: unknown) => {
      await removeFolder(other);
      throw failed(`lost: ${messageOf(again)}`);
    });
    throw failed(`in ${other}, to be moved to ${folder}`);
  }
}

/** @throws {LightPeftError} IO; that it is not there is no error */
export async function removeFile(file: string): Promise<void> {
  await rm(file, { force: true }).catch((error: unknown) => {
    throw ioError(file, error);
  });
}

/** With all that is in it. */
export async function removeFolder(folder: string): Promise<void> {
  await rm(folder, { force: true, recursive: true }).catch((error: unknown) => {
    throw ioError(folder, error);
  });
}
