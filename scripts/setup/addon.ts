import { createHash } from 'node:crypto';
import { appendFileSync, existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism, totalmem } from 'node:os';
import { join, relative } from 'node:path';
import { compilerErrors } from './buildlog.ts';
import { type CurrentAddon, hashSources, recordAddon } from './current.ts';
import { type Cuda, chooseCuda, cudaSetting } from './cuda.ts';
import { setupFailed } from './failure.ts';
import type { LibTorch } from './inspect.ts';
import { withLock } from './lock.ts';
import type { Log } from './log.ts';
import { projectRoot } from './paths.ts';
import { runProgram } from './program.ts';
import { readStamp, writeStamp } from './stamp.ts';
import { findToolchain } from './toolchain.ts';

/** An estimate, only to tell people how long they will wait. */
const coreMinutes = 8;
/** What one compiler needs while it reads LibTorch's headers; more jobs than memory would end in swapping. */
const bytesPerJob = 2 * 2 ** 30;

/** Builds the addon unless that is done already, makes it the current one and returns its path. */
export async function buildAddon(libtorch: LibTorch, log: Log, root = projectRoot): Promise<string> {
  return withLock(join(root, 'build/lock'), log, async () => {
    const cuda = await chooseCuda(libtorch, log);
    const { env, identity } = await findToolchain(log);
    const flags = [`--CDLIBTORCH_DIR=${libtorch.dir}`, ...cudaFlags(cuda)];
    const key = keyOf(libtorch, flags, [...identity, cuda?.nvcc.version ?? '', root], cuda !== undefined);
    const folder = join(root, 'build', key);
    const addon = join(folder, 'Release/light_peft.node');
    const stampFile = join(folder, 'stamp.json');
    // Taken before the build, so that an edit made meanwhile is built the next time.
    const sourcesHash = hashSources(root);
    const stamp = { sourcesHash, dir: libtorch.dir, version: libtorch.version };

    if (JSON.stringify(readStamp(stampFile)) !== JSON.stringify(stamp) || !existsSync(addon)) {
      await build(root, folder, flags, env, libtorch, log);
      if (!existsSync(addon)) throw setupFailed(`the build made no ${relative(root, addon)}`);
      writeStamp(stampFile, stamp);
    }
    const current: CurrentAddon = {
      addon: relative(root, addon),
      libtorch,
      key,
      sourcesHash,
      cudaSetting: cudaSetting(),
    };
    recordAddon(current, root);
    return addon;
  });
}

function cudaFlags(cuda: Cuda | undefined): string[] {
  if (cuda === undefined) return ['--CDLIGHT_PEFT_CUDA=OFF'];
  return [
    '--CDLIGHT_PEFT_CUDA=ON',
    `--CDNVCC=${cuda.nvcc.program}`,
    `--CDCUDA_INCLUDES=${cuda.includes.join(';')}`,
    `--CDCUDART=${cuda.cudart}`,
  ];
}

/** A folder name per LibTorch, flags and compiler: objects of two never meet, and both stay built. */
function keyOf(libtorch: LibTorch, flags: string[], others: string[], cuda: boolean): string {
  const hash = createHash('sha256')
    .update(JSON.stringify([flags, others]))
    .digest('hex')
    .slice(0, 8);
  return [libtorch.version.replaceAll('+', '-'), ...(cuda ? ['cuda'] : []), hash].join('-');
}

/** Removes what `cmake --fresh` (3.24) would, but not the objects, which lie between. */
function forgetConfiguration(folder: string): void {
  rmSync(join(folder, 'CMakeCache.txt'), { force: true });
  const files = join(folder, 'CMakeFiles');
  const findings = existsSync(files) ? readdirSync(files).filter((name) => /^\d/.test(name)) : [];
  for (const name of findings) rmSync(join(files, name), { recursive: true });
}

async function build(
  root: string,
  folder: string,
  flags: string[],
  env: NodeJS.ProcessEnv,
  libtorch: LibTorch,
  log: Log,
): Promise<void> {
  const jobs = Math.max(1, Math.min(availableParallelism(), Math.floor(totalmem() / bytesPerJob)));
  const minutes = Math.ceil(coreMinutes / jobs);
  const time = `at most about ${minutes} minute${minutes === 1 ? '' : 's'} on ${jobs} core${jobs === 1 ? '' : 's'}`;
  log(`building the native addon with LibTorch ${libtorch.version} (${time}) …`);
  const start = Date.now();

  const logFile = join(folder, 'build.log');
  const cmakeJs = createRequire(import.meta.url).resolve('cmake-js/bin/cmake-js');
  const run = async (command: string): Promise<{ ok: boolean; output: string }> => {
    const where = [`--directory=${root}`, `--out=${folder}`, '--generator=Ninja', '--config=Release'];
    const args = [cmakeJs, command, ...where, `--parallel=${jobs}`, ...flags];
    return runProgram(process.execPath, args, {
      cwd: root,
      env,
      onOutput: (text) => appendFileSync(logFile, text),
    });
  };
  const configure = (): ReturnType<typeof run> => {
    mkdirSync(folder, { recursive: true });
    writeFileSync(logFile, '');
    return run('configure');
  };

  // `cmake-js compile` would answer a compile error by throwing the folder away and compiling it all again.
  const seasoned = existsSync(join(folder, 'CMakeCache.txt'));
  let outcome = await configure();
  if (!outcome.ok && seasoned) {
    // An interrupted configure can leave a cache that never works again. The objects are kept.
    forgetConfiguration(folder);
    outcome = await configure();
  }
  if (outcome.ok) outcome = await run('build');
  if (!outcome.ok) {
    for (const line of compilerErrors(outcome.output)) log(`  ${line}`);
    throw setupFailed(`the native addon did not build; all of the output is in ${relative(root, logFile)}`);
  }
  log(`built in ${Math.round((Date.now() - start) / 1000)} s`);
}
