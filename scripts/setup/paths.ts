import { homedir } from 'node:os';
import { join, resolve } from 'node:path';

/** The folder of package.json. */
export const projectRoot = resolve(import.meta.dirname, '../..');

/** What every checkout of the project can share: LibTorch and build tools. Read on each call, for tests. */
export const cacheDir = (): string =>
  join(process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'light-peft');
