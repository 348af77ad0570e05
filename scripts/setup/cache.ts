import { existsSync, mkdirSync, renameSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { placeLibTorch, unpack, verify } from './archive.ts';
import { setupFailed } from './failure.ts';
import { type LibTorch, inspectLibTorch } from './inspect.ts';
import type { Log } from './log.ts';
import { cacheDir } from './paths.ts';
import { type Release, archive, libtorchVersion, wheel } from './release.ts';
import { readStamp, writeStamp } from './stamp.ts';

/** A download and what it unpacks to, side by side. */
const neededBytes = 800 * 2 ** 20;

const target = (): string => join(cacheDir(), `libtorch-${libtorchVersion}`);

/** The unpacked LibTorch of an earlier set-up. */
export function cachedLibTorch(): LibTorch {
  const dir = target();
  if (!existsSync(dir)) throw setupFailed(`${dir} does not exist yet`);
  const stamp = readStamp(join(dir, 'complete.json')) as { sha256?: unknown } | undefined;
  const known: unknown[] = [wheel.sha256, archive.sha256];
  if (!known.includes(stamp?.sha256)) throw setupFailed(`${dir} is not complete`);
  return inspectLibTorch(dir, 'the cache');
}

/** Fetches, checks and unpacks a release into the cache. Call it with the cache's lock held. */
export async function install(
  release: Release,
  fetchInto: (folder: string) => Promise<string>,
  log: Log,
): Promise<LibTorch> {
  const dir = target();
  // Beside the target, so that the rename stays on one disk. A killed run's leavings go first.
  const part = `${dir}.part`;
  const arrivals = join(part, 'download');
  rmSync(part, { recursive: true, force: true });
  mkdirSync(arrivals, { recursive: true });
  try {
    const { bavail, bsize } = statfsSync(part);
    if (bavail * bsize < neededBytes) {
      throw setupFailed(
        `${cacheDir()} needs ${neededBytes / 2 ** 20} MB of free space (XDG_CACHE_HOME moves it)`,
      );
    }
    const file = await fetchInto(arrivals);
    await verify(file, release.sha256);
    log('unpacking LibTorch (about 20 seconds) …');
    await unpack(file, part, placeLibTorch(release.root));
    rmSync(arrivals, { recursive: true });
    writeFileSync(join(part, 'build-version'), `${libtorchVersion}\n`);
    inspectLibTorch(part, release.file);
    writeStamp(join(part, 'complete.json'), { file: release.file, sha256: release.sha256 });
    rmSync(dir, { recursive: true, force: true });
    renameSync(part, dir);
  } finally {
    rmSync(part, { recursive: true, force: true });
  }
  return inspectLibTorch(dir, 'the cache');
}
