import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream, mkdirSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { openPromise } from 'yauzl';
import { setupFailed } from './failure.ts';

export async function sha256Of(file: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(file, { highWaterMark: 1 << 20 }), hash);
  return hash.digest('hex');
}

export async function verify(file: string, sha256: string): Promise<void> {
  const actual = await sha256Of(file);
  if (actual !== sha256) {
    throw setupFailed(`${basename(file)} is not the published file: its sha256 is ${actual}, not ${sha256}`);
  }
}

/** Unpacks those entries of a zip for which `place` gives a path below `folder`. Returns how many. */
export async function unpack(
  file: string,
  folder: string,
  place: (entry: string) => string | undefined,
): Promise<number> {
  // Refuses names that lead out of the folder; its lack of a CRC check is why the sha256 comes first.
  const zip = await openPromise(file);
  const made = new Set<string>();
  let count = 0;
  for await (const entry of zip.eachEntry()) {
    const path = entry.fileName.endsWith('/') ? undefined : place(entry.fileName);
    if (path === undefined) continue;
    const target = join(folder, path);
    const parent = dirname(target);
    if (!made.has(parent)) mkdirSync(parent, { recursive: true });
    made.add(parent);
    await pipeline(await zip.openReadStreamPromise(entry), createWriteStream(target));
    count += 1;
  }
  return count;
}

/** Libraries for PyTorch's own Python and tests; nothing links them. */
const unwanted =
  /^lib(torch_python|shm|aoti_custom_ops|backend_with_compiler|jitbackend_test|torchbind_test)\.so/;

/** Which part of a wheel or a libtorch archive is LibTorch: the headers and the shared libraries. */
export function placeLibTorch(root: string): (entry: string) => string | undefined {
  return (entry) => {
    if (!entry.startsWith(root)) return undefined;
    const path = entry.slice(root.length);
    if (path.startsWith('include/')) return path;
    const library = /^lib\/([^/]+\.so(\.[\d.]+)?)$/.exec(path)?.[1];
    return library !== undefined && !unwanted.test(library) ? path : undefined;
  };
}
