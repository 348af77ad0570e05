import * as lock from '../../lib/lock.ts';
import type { Log } from './log.ts';

/** Runs `work` while no other process holds the lock `file`; waits for one that does, and says so. */
export const withLock = <T>(file: string, log: Log, work: () => Promise<T>): Promise<T> =>
  lock.withLock(
    file,
    (process) => log(`waiting for process ${process}, which is at the same work (${file})`),
    work,
  );
