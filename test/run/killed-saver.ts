/** Replaces three files that belong together, and is killed before, or after, its so manyeth rename: folder, count, side. */
import { createRequire, syncBuiltinESMExports } from 'node:module';
import { join } from 'node:path';
import type * as Files from 'node:fs/promises';

const [folder, count, side] = process.argv.slice(2) as [string, string, 'before' | 'after'];
const files = createRequire(import.meta.url)('node:fs/promises') as { rename: typeof Files.rename };
const { rename } = files;
let renames = 0;
files.rename = async (...args) => {
  const last = ++renames === Number(count);
  if (last && side === 'before') process.kill(process.pid, 'SIGKILL');
  await rename(...args);
  if (last) process.kill(process.pid, 'SIGKILL');
};
syncBuiltinESMExports();

const { writeTogether } = await import('../../lib/whole-file.ts');
await writeTogether([
  { file: join(folder, 'a'), pieces: ['new a'] },
  { file: join(folder, 'b'), pieces: null },
  { file: join(folder, 'c'), pieces: ['new c'] },
]);
