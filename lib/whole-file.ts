import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { lstat, mkdir, mkdtemp, open, readdir, realpath, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { LightPeftError, messageOf } from './errors.ts';
import { withLock } from './lock.ts';

export const ioError = (path: string, error: unknown) =>
  new LightPeftError('IO', `${path}: ${messageOf(error)}`, { cause: error });

/** What a path leads to, without links; where nothing is there, as it is said. */
export const placeOf = (path: string): Promise<string> => realpath(path).catch(() => resolve(path));

export const isSamePlace = async (a: string, b: string): Promise<boolean> =>
  (await placeOf(a)) === (await placeOf(b));

export interface WholeFile {
  file: string;
  /** Its bytes, one piece behind the other; null: it is to be gone. */
  pieces: readonly (Uint8Array | string)[] | null;
}

async function writeTemporary(temporary: string, pieces: readonly (Uint8Array | string)[]): Promise<void> {
  const handle = await open(temporary, 'wx');
  try {
    // Each call goes on where the last one ended.
    for (const piece of pieces) await handle.writeFile(piece);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Moves what is there out of the way; what moves it back, or nothing. */
async function movedAside(file: string, aside: string): Promise<(() => Promise<void>) | undefined> {
  const there = await lstat(file).catch(() => undefined);
  if (!there) return undefined;
  if (there.isDirectory()) throw new Error('a folder is in its place');
  await rename(file, aside);
  return () => rename(aside, file);
}

/**
 * Writes files that belong together, of which the last tells that all are there: it is gone before the first is in its
 * place, so that no mixture of old and new can be read. None is touched before all new ones are written, and where one
 * cannot take its place, the earlier ones have theirs again.
 * @throws {LightPeftError} IO
 */
export async function writeTogether(files: readonly WholeFile[]): Promise<void> {
  // In the same folder, as a rename cannot cross file systems.
  const staged = files.map(({ file, pieces }) => ({
    ...{ file, pieces, aside: `${file}.${randomUUID()}.tmp` },
    temporary: `${file}.${randomUUID()}.tmp`,
  }));
  const undo: (() => Promise<void>)[] = [];
  let at = '';
  try {
    for (const { file, pieces, temporary } of staged) {
      at = file;
      if (pieces) await writeTemporary(temporary, pieces);
    }
    // One alone takes an earlier one's place in one step.
    for (const { file, aside } of staged.length > 1 ? staged.toReversed() : []) {
      at = file;
      const back = await movedAside(file, aside);
      if (back) undo.push(back);
    }
    for (const { file, pieces, temporary } of staged) {
      at = file;
      if (!pieces) continue;
      await rename(temporary, file);
      undo.push(() => rm(file));
    }
  } catch (error) {
    for (const step of undo.reverse()) await step().catch(() => undefined);
    for (const { temporary } of staged) await rm(temporary, { force: true });
    throw ioError(at, error);
  }
  // What stays is swept one day.
  for (const { aside } of staged) await rm(aside, { force: true }).catch(() => undefined);
}

/**
 * Whoever opens `file` sees the old one or the new one, whole.
 * @throws {LightPeftError} IO
 */
export const writeWhole = (file: string, pieces: readonly (Uint8Array | string)[]): Promise<void> =>
  writeTogether([{ file, pieces }]);

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
 * A folder in which files can be written, which is tried, for what takes long should not fail at its end.
 * @throws {LightPeftError} IO
 */
export async function tryFolder(folder: string): Promise<void> {
  const trial = join(folder, `${randomUUID()}.tmp`);
  try {
    await makeEach(folder);
    await writeFile(trial, '');
    await rm(trial);
  } catch (error) {
    throw ioError(folder, error);
  }
}

/**
 * Such a folder for results alone.
 * @throws {LightPeftError} IO
 */
export async function makeFolder(folder: string): Promise<void> {
  await tryFolder(folder);
  await sweep(folder).catch((error: unknown) => {
    throw ioError(folder, error);
  });
}

export const isIo = (error: unknown): error is LightPeftError =>
  error instanceof LightPeftError && error.code === 'IO';

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

/** Whether a call of the operating system failed. */
export const isOfSystem = (error: unknown): boolean => error instanceof Error && 'syscall' in error;

/**
 * Runs what writes its results to a folder.
 * @throws {LightPeftError} BAD_OPTION: another run is at it, whose results would be lost among these; IO
 */
export async function alone<T>(folder: string, work: () => Promise<T>): Promise<T> {
  let begun = false;
  const lock = join(folder, '.run.lock');
  return withLock(
    lock,
    (process) => {
      throw new LightPeftError('BAD_OPTION', `--out: process ${process} is writing to ${folder}`);
    },
    () => {
      begun = true;
      return work();
    },
  ).catch((error: unknown) => {
    throw !begun && isOfSystem(error) ? ioError(lock, error) : error;
  });
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
