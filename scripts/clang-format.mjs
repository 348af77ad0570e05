// Checks the layout of the C++ sources against .clang-format; with --fix rewrites them.
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';

const root = resolve(import.meta.dirname, '..');
const require = createRequire(import.meta.url);
const program = join(dirname(require.resolve('clang-format')), 'bin/linux_x64/clang-format');
const fix = process.argv.includes('--fix');

const files = ['native', 'binding'].flatMap((folder) =>
  readdirSync(join(root, folder), { recursive: true })
    .filter((name) => /\.(h|cc|cu)$/.test(name))
    .map((name) => join(folder, name))
    .sort(),
);

const run = (args) => {
  const { status, stderr, error } = spawnSync(program, args, { cwd: root, encoding: 'utf8' });
  if (error) throw error;
  return { ok: status === 0, stderr };
};

if (files.length > 0) {
  const { ok, stderr } = run([fix ? '-i' : '--dry-run', ...(fix ? [] : ['--Werror']), ...files]);
  if (!ok) {
    const named = new Set(
      [...stderr.matchAll(/^(\S+?):\d+:\d+: error: code should be clang-formatted/gm)].map(
        (match) => match[1],
      ),
    );
    // A program that failed for another reason says so itself.
    console.error(named.size > 0 ? `not formatted (npm run format):\n  ${[...named].join('\n  ')}` : stderr);
    process.exitCode = 1;
  }
}
