import { renameSync, rmSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { messageOf } from '../../lib/errors.ts';
import { setupFailed } from './failure.ts';
import { withLock } from './lock.ts';
import type { Log } from './log.ts';
import { cacheDir } from './paths.ts';
import { runProgram, which } from './program.ts';
import { pipInstall } from './python.ts';

export interface Toolchain {
  /** The environment to build in: its PATH has cmake and ninja. */
  env: NodeJS.ProcessEnv;
  /** What the compiler says it is, and which programs they are: a build folder remembers them. */
  identity: string[];
}

const tools = ['cmake', 'ninja'];
const pipTools = ['cmake==4.4.3', 'ninja==1.13.2'];

/** Finds the C++ compiler, cmake and ninja; the last two are fetched when the machine lacks them. */
export async function findToolchain(log: Log): Promise<Toolchain> {
  const cxx = [process.env['CXX'] || 'g++', 'clang++'].map((name) => which(name)).find(Boolean);
  if (cxx === undefined) {
    throw setupFailed(
      'no C++ compiler found: install g++ 11 or newer (apt install g++, dnf install gcc-c++)',
    );
  }
  const version = await runProgram(cxx, ['--version'], { timeoutSeconds: 20 });
  if (!version.ok) throw setupFailed(`${cxx} --version failed`);

  let path = process.env['PATH'] ?? '';
  const lacking = (): string[] => tools.filter((tool) => which(tool, path) === undefined);
  if (lacking().length > 0) {
    // pip's bin/cmake is a Python script that needs its own module path; the program itself lies deeper.
    const folder = join(cacheDir(), 'tools');
    path = [path, join(folder, 'cmake/data/bin'), join(folder, 'bin')].join(delimiter);
    if (lacking().length > 0) {
      await withLock(join(cacheDir(), 'lock'), log, () => fetchTools(folder, lacking(), log));
    }
  }
  const programs = [cxx, ...tools.map((tool) => which(tool, path) ?? tool)];
  const identity = [version.stdout.split('\n')[0] ?? '', ...programs];
  return { env: { ...process.env, PATH: path, CXX: cxx }, identity };
}

async function fetchTools(folder: string, lacking: string[], log: Log): Promise<void> {
  if (lacking.length === 0) return; // the process that held the lock before us has fetched them
  const names = lacking.join(' and ');
  log(`fetching ${names} with pip (about 20 seconds) …`);
  const part = `${folder}.part`;
  rmSync(part, { recursive: true, force: true });
  try {
    await pipInstall(pipTools, part);
    rmSync(folder, { recursive: true, force: true });
    renameSync(part, folder);
  } catch (error) {
    const packages = lacking.join(' ').replace('ninja', 'ninja-build');
    throw setupFailed(
      `${names} not found: install them (apt install ${packages}); ${messageOf(error)}`,
      error,
    );
  } finally {
    rmSync(part, { recursive: true, force: true });
  }
}
