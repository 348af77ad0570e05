import { join, resolve } from 'node:path';
import { messageOf } from '../../lib/errors.ts';
import { cachedLibTorch, install } from './cache.ts';
import { wantsCuda } from './cuda.ts';
import { download } from './download.ts';
import { setupFailed } from './failure.ts';
import { type LibTorch, inspectLibTorch } from './inspect.ts';
import { withLock } from './lock.ts';
import type { Log } from './log.ts';
import { cacheDir } from './paths.ts';
import { pipDownload, pythonTorch } from './python.ts';
import { type Release, archive, downloadUrl, wheel } from './release.ts';

export type { LibTorch } from './inspect.ts';

/** One way to come by LibTorch: it returns one or throws why it cannot. */
interface Step {
  name: string;
  find(log: Log): LibTorch | Promise<LibTorch>;
}

const local: Step[] = [{ name: 'python3', find: pythonTorch }];

const cache: Step = { name: 'the cache', find: cachedLibTorch };

const fetched: Step[] = [
  {
    name: 'pip',
    find: (log) => {
      log(`downloading LibTorch with pip (${wheel.megabytes} MB, about a minute) …`);
      return install(wheel, (folder) => pipDownload(wheel, folder), log);
    },
  },
  { name: 'the wheel', find: (log) => installFromWeb(wheel, log) },
  { name: 'the archive', find: (log) => installFromWeb(archive, log) },
];

/** Finds a LibTorch on this machine, or fetches one. */
export async function findLibTorch(log: Log): Promise<LibTorch> {
  const chosen = process.env['LIBTORCH'];
  // Set by a person: another one in its place would be a surprise.
  if (chosen) return inspectLibTorch(resolve(chosen), 'LIBTORCH');

  const found = await firstOf(local, log);
  if (found && (found.cuda || !wantsCuda())) return found;
  if (wantsCuda()) {
    throw setupFailed(
      'LIGHT_PEFT_CUDA=1 needs a LibTorch with CUDA: install such a torch for python3 or set LIBTORCH to one',
    );
  }
  const own = await withLock(join(cacheDir(), 'lock'), log, () => firstOf([cache, ...fetched], log));
  if (own) return own;
  throw setupFailed(
    'no LibTorch found or fetched (reasons above): install torch 2.13 for python3, or set LIBTORCH to a libtorch folder',
  );
}

async function firstOf(steps: readonly Step[], log: Log): Promise<LibTorch | undefined> {
  for (const step of steps) {
    try {
      return await step.find(log);
    } catch (error) {
      log(`no LibTorch from ${step.name}: ${messageOf(error)}`);
    }
  }
  return undefined;
}

async function installFromWeb(release: Release, log: Log): Promise<LibTorch> {
  const url = downloadUrl(release);
  log(`downloading ${url} (${release.megabytes} MB, about a minute) …`);
  const fetchInto = async (folder: string): Promise<string> => {
    const file = join(folder, release.file);
    await download(url, file, log);
    return file;
  };
  return install(release, fetchInto, log);
}
