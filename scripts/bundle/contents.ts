import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setupFailed } from '../setup/failure.ts';
import { closure, type LockedPackages } from './closure.ts';

/** What of the project goes along: what the addon is built from, what the commands run, and the tests. */
const PROJECT = [
  'binding',
  'native',
  'lib',
  'scripts',
  'demo',
  'test',
  // The tests compare it.
  'docs',
  // There is no compiler of TypeScript on the host to make it with.
  'dist',
  'CMakeLists.txt',
  'README.md',
  'package.json',
  'package-lock.json',
  'tsconfig.json',
  'tsconfig.build.json',
  '.mocharc.json',
];

/** By far the largest of the project's files. */
const DEMO_MODEL = 'demo/encoder';

/** Development tools that the tests run on. */
const TEST_TOOLS = ['mocha', 'chai'];

const isLeftover = (path: string): boolean => /\.tmp$|(^|\/)__pycache__(\/|$)/.test(path);

/** The project's own files, relative to its folder. */
export function projectFiles(root: string, withDemo: boolean): string[] {
  return PROJECT.flatMap((name) => filesBelow(root, name)).filter(
    (path) =>
      !isLeftover(path) &&
      (withDemo || !path.startsWith(`${DEMO_MODEL}/`)) &&
      !(path.startsWith('dist/') && isDeclaration(path)),
  );
}

/** The files of the packages that commands and tests load, relative to the project's folder. */
export function packageFiles(root: string): string[] {
  const read = (file: string): unknown => JSON.parse(readFileSync(join(root, file), 'utf8'));
  const { dependencies } = read('package.json') as { dependencies: Record<string, string> };
  const { packages } = read('package-lock.json') as { packages: LockedPackages };
  return closure(packages, [...Object.keys(dependencies), ...TEST_TOOLS]).flatMap((folder) => {
    if (!existsSync(join(root, folder))) throw setupFailed(`${folder} is not there: run npm ci`);
    return filesBelow(root, folder).filter((path) => isLoaded(path.slice(folder.length + 1)));
  });
}

const isDeclaration = (path: string): boolean => /\.d\.[cm]?ts$/.test(path);

/** A binary for a platform that its name tells, as of `tokenizers`, which carries those of all platforms. */
const platformOf = (path: string): string | undefined =>
  /[.-]((?:aix|android|darwin|freebsd|linux|openbsd|sunos|win32)-[\w-]+)\.node$/.exec(path)?.[1];

/** Whether a package's file, relative to the package, can matter when it runs. Licences go along. */
export function isLoaded(path: string): boolean {
  // Another package, in the closure on its own account or not needed.
  if (path.startsWith('node_modules/')) return false;
  // Settings of the package's own development.
  if (/(^|\/)\./.test(path) || /^(test|tests|docs|examples?|benchmarks?)\//.test(path)) return false;
  const name = path.slice(path.lastIndexOf('/') + 1);
  if (/^(licen[cs]e|notice|copying)/i.test(name)) return true;
  // Packages are JavaScript when they run: their TypeScript is declarations, or what they were made from.
  if (/\.(map|md|markdown|[cm]?ts|flow)$/i.test(name)) return false;
  const platform = platformOf(name);
  return platform === undefined || platform === 'linux-x64-gnu';
}

/** A file, or all files in a folder, by their paths from `root`. */
function filesBelow(root: string, name: string): string[] {
  const stats = statSync(join(root, name), { throwIfNoEntry: false });
  if (stats === undefined) throw setupFailed(`${name} is not there`);
  if (!stats.isDirectory()) return [name];
  return readdirSync(join(root, name))
    .sort()
    .flatMap((child) => filesBelow(root, `${name}/${child}`));
}
