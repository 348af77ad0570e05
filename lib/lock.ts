import { randomUUID } from 'node:crypto';
import {
  linkSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { hostname } from 'node:os';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';

const HOLDER = z.object({
  pid: z.int(),
  /** Start time of the process: a pid is used again, the pair is not. */
  started: z.string(),
  host: z.string(),
  token: z.string(),
});

/** Who holds a lock. */
type Holder = z.infer<typeof HOLDER>;

/** Told once of a live process that holds the lock, `12 of another host` or `12`: to wait for it, or to throw. */
export type Busy = (process: string) => void;

const beatSeconds = 5;
/** A holder on another host (a container's shared cache) cannot be looked up; it must keep beating. */
const silenceSeconds = 60;
const pollSeconds = 0.25;

/**
 * Runs `work` while no other process holds the lock `file`. A process that died with the lock, however it
 * died, loses it to the next one.
 */
export async function withLock<T>(file: string, busy: Busy, work: () => Promise<T>): Promise<T> {
  await acquire(file, busy);
  // The beat must not keep a finished process alive.
  const beat = setInterval(() => touch(file), beatSeconds * 1000).unref();
  try {
    return await work();
  } finally {
    clearInterval(beat);
    release(file);
  }
}

async function acquire(file: string, busy: Busy): Promise<void> {
  mkdirSync(dirname(file), { recursive: true });
  const own: Holder = {
    pid: process.pid,
    started: startTime(process.pid) ?? '',
    host: hostname(),
    token: randomUUID(),
  };
  let told = false;
  while (!create(file, own)) {
    const holder = read(file);
    if (holder === undefined) continue; // released since
    if (isDead(holder, file)) {
      await withLock(`${file}.takeover`, busy, () => Promise.resolve(removeIfHeldBy(holder, file)));
      continue;
    }
    if (!told) busy(holder.host === hostname() ? `${holder.pid}` : `${holder.pid} of ${holder.host}`);
    told = true;
    await sleep(pollSeconds * 1000);
  }
}

/** What file systems without hard links say. */
const LINKLESS: readonly unknown[] = ['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS'];

/**
 * The lock appears with its content in one step: a link to a written file, refused if the name is taken. Where there are no
 * links it is written in its place, and a process that looks in between may take it for one that nobody holds.
 */
function create(file: string, own: Holder): boolean {
  // By a name of which what a killed process leaves is swept.
  const draft = `${file}.${own.token}.tmp`;
  const text = JSON.stringify(own);
  try {
    writeFileSync(draft, text);
    return unlessTaken(() => linkSync(draft, file));
  } catch (error) {
    if (!LINKLESS.includes((error as NodeJS.ErrnoException).code)) throw error;
    return unlessTaken(() => writeFileSync(file, text, { flag: 'wx' }));
  } finally {
    rmSync(draft, { force: true });
  }
}

function unlessTaken(make: () => void): boolean {
  try {
    make();
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    return false;
  }
}

/**
 * Only the holder of the take-over lock removes a dead process's lock, and looks again before it does.
 * Otherwise two that saw the same dead holder could both remove "it", the second one the first one's new lock.
 */
function removeIfHeldBy(dead: Holder, file: string): void {
  if (read(file)?.token === dead.token) rmSync(file, { force: true });
}

function read(file: string): Holder | undefined {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    // A link to nothing takes the place, too, and stays.
    if (!isLink(file)) return undefined;
    text = '';
  }
  try {
    return HOLDER.parse(JSON.parse(text));
  } catch {
    // No process of ours writes this; a full disk or a hand does. Nobody holds it.
    return { pid: 0, started: '', host: hostname(), token: '' };
  }
}

const isLink = (file: string): boolean =>
  lstatSync(file, { throwIfNoEntry: false })?.isSymbolicLink() ?? false;

function isDead(holder: Holder, file: string): boolean {
  if (holder.host === hostname()) return startTime(holder.pid) !== holder.started;
  const stats = statSync(file, { throwIfNoEntry: false });
  return stats !== undefined && Date.now() - stats.mtimeMs > silenceSeconds * 1000;
}

/** What the work has come to says more than that its lock stays, which ends with this process. */
function release(file: string): void {
  try {
    rmSync(file, { force: true });
  } catch {
    // The disk has become read-only, or something else is in its place.
  }
}

function touch(file: string): void {
  try {
    utimesSync(file, new Date(), new Date());
  } catch {
    // The lock was removed by hand; the work goes on.
  }
}

/** Field 22 of /proc/<pid>/stat; the name in field 2 may hold spaces and brackets, so count behind it. */
function startTime(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' ? undefined : fields[19];
  } catch {
    return undefined;
  }
}
