import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** One hash over files and folders below `root`: their names and bytes. What is missing counts as missing. */
export function hashTree(root: string, names: readonly string[], extra: readonly string[] = []): string {
  const hash = createHash('sha256');
  const visit = (name: string): void => {
    const path = join(root, name);
    const stats = statSync(path, { throwIfNoEntry: false });
    if (stats?.isDirectory()) {
      for (const child of readdirSync(path).sort()) visit(`${name}/${child}`);
    } else {
      const bytes = stats ? readFileSync(path) : Buffer.alloc(0);
      // The length keeps "a" + "bc" apart from "ab" + "c".
      hash.update(`${name}\0${stats ? bytes.length : 'missing'}\0`).update(bytes);
    }
  };
  for (const name of names) visit(name);
  for (const text of extra) hash.update(`\0${text}`);
  return hash.digest('hex');
}

/** The parsed file, or undefined if it is missing or was cut short: both mean "do the work again". */
export function readStamp(file: string): unknown {
  try {
    return JSON.parse(readFileSync(file, 'utf8'));
  } catch {
    return undefined;
  }
}

/** Written under another name and renamed, so that a reader never meets half a file. */
export function writeStamp(file: string, value: unknown): void {
  mkdirSync(dirname(file), { recursive: true });
  const part = `${file}.${process.pid}.tmp`;
  writeFileSync(part, `${JSON.stringify(value, null, 2)}\n`);
  renameSync(part, file);
}
