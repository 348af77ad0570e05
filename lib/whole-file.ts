import { randomUUID } from 'node:crypto';
import { lstat, open, readFile, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { z } from 'zod';
import { LightPeftError, messageOf } from './errors.ts';

export const ioError = (path: string, error: unknown) =>
  new LightPeftError('IO', `${path}: ${messageOf(error)}`, { cause: error });

export const isIo = (error: unknown): error is LightPeftError =>
  error instanceof LightPeftError && error.code === 'IO';

/** Whether a call of the operating system failed. */
export const isOfSystem = (error: unknown): boolean => error instanceof Error && 'syscall' in error;

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

/** In a folder whose files are being replaced by new ones, which are all written: which these are, in their order. */
const JOURNAL = '.saving.json';
const MOVES = z
  .array(
    z.strictObject({
      file: z.string().regex(/^(?!\.{1,2}$)[^/]+$/),
      temporary: z
        .string()
        .regex(/^[^/]+\.tmp$/)
        .nullable(),
    }),
  )
  .min(1);

async function writeJournal(journal: string, moves: z.infer<typeof MOVES>): Promise<void> {
  const temporary = `${journal}.${randomUUID()}.tmp`;
  await writeTemporary(temporary, [JSON.stringify(moves)]);
  await rename(temporary, journal);
}

/** Whether a process was killed while it replaced what belongs together there, or is about it. */
export const isBeingSaved = (folder: string): Promise<boolean> =>
  lstat(join(folder, JOURNAL)).then(
    () => true,
    () => false,
  );

function movesOf(text: string): z.infer<typeof MOVES> {
  try {
    return MOVES.parse(JSON.parse(text));
  } catch (error) {
    throw new Error('it does not list files that are being saved, and may be removed', { cause: error });
  }
}

/**
 * Ends what a killed process has begun; to be called where no other one is about it.
 * @throws {LightPeftError} IO
 */
export async function finishSaving(folder: string): Promise<void> {
  const journal = join(folder, JOURNAL);
  const text = await readFile(journal, 'utf8').catch(() => undefined);
  if (text === undefined) return;
  try {
    const moves = movesOf(text).map(({ file, temporary }) => ({
      file: join(folder, file),
      temporary: temporary === null ? null : join(folder, temporary),
    }));
    const last = moves.at(-1)!;
    const there = async (path: string | null) =>
      path !== null && (await lstat(path).catch(() => undefined)) !== undefined;
    if (await there(last.temporary)) await rm(last.file, { force: true });
    for (const { file, temporary } of moves)
      if (temporary === null) await rm(file, { force: true });
      else if (await there(temporary)) await rename(temporary, file);
    await rm(journal);
  } catch (error) {
    throw ioError(journal, error);
  }
}

/**
 * Writes files of one folder that belong together, of which the last tells that all are there: it is gone before the first
 * is in its place, so that no mixture of old and new can be read. None is touched before all new ones are written, and
 * where one cannot take its place, the earlier ones have theirs again; where the process is killed meanwhile,
 * `finishSaving` ends it.
 * @throws {LightPeftError} IO
 */
export async function writeTogether(files: readonly WholeFile[]): Promise<void> {
  // In the same folder, as a rename cannot cross file systems.
  const staged = files.map(({ file, pieces }) => ({
    ...{ file, pieces, aside: `${file}.${randomUUID()}.tmp` },
    temporary: pieces && `${file}.${randomUUID()}.tmp`,
  }));
  const journal = join(dirname(files[0]!.file), JOURNAL);
  const undo: (() => Promise<void>)[] = [];
  let at = '';
  try {
    for (const { file, pieces, temporary } of staged) {
      at = file;
      if (pieces) await writeTemporary(temporary!, pieces);
    }
    // One alone takes an earlier one's place in one step.
    if (staged.length > 1) {
      at = journal;
      const moves = staged.map(({ file, temporary }) => ({
        file: basename(file),
        temporary: temporary && basename(temporary),
      }));
      await writeJournal(journal, moves);
      for (const { file, aside } of staged.toReversed()) {
        at = file;
        const back = await movedAside(file, aside);
        if (back) undo.push(back);
      }
    }
    for (const { file, temporary } of staged) {
      at = file;
      if (temporary === null) continue;
      await rename(temporary, file);
      undo.push(() => rename(file, temporary));
    }
  } catch (error) {
    for (const step of undo.reverse()) await step().catch(() => undefined);
    if (staged.length > 1) await rm(journal, { force: true }).catch(() => undefined);
    for (const { temporary } of staged) if (temporary) await rm(temporary, { force: true });
    throw ioError(at, error);
  }
  // What stays of these is done once more, to no effect, or swept one day.
  if (staged.length > 1) await rm(journal).catch(() => undefined);
  for (const { aside } of staged) await rm(aside, { force: true }).catch(() => undefined);
}

/**
 * Whoever opens `file` sees the old one or the new one, whole.
 * @throws {LightPeftError} IO
 */
export const writeWhole = (file: string, pieces: readonly (Uint8Array | string)[]): Promise<void> =>
  writeTogether([{ file, pieces }]);
