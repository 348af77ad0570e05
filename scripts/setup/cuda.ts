import { existsSync, readdirSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { LightPeftError } from '../../lib/errors.ts';
import { setupFailed } from './failure.ts';
import type { LibTorch } from './inspect.ts';
import type { Log } from './log.ts';
import { lastWord, runProgram, which } from './program.ts';

/** LIGHT_PEFT_CUDA: 1 asks for the CUDA kernels, 0 refuses them, unset lets LibTorch decide. */
export const cudaSetting = (): string => process.env['LIGHT_PEFT_CUDA'] ?? '';

export const wantsCuda = (): boolean => cudaSetting() === '1';

export interface Nvcc {
  program: string;
  /** Where its own programs are. */
  folder: string;
  /** `13.0`, say. */
  version: string;
  /** The folders of the headers that come with it. */
  includes: string[];
}

/** What the CUDA path is compiled and linked with. */
export interface Cuda {
  nvcc: Nvcc;
  /** For the C++ files that use LibTorch's CUDA headers, in the order to search. */
  includes: string[];
  /** The CUDA runtime that LibTorch loads: with a second one beside it, kernels would be registered in the wrong one. */
  cudart: string;
}

/** nvcc, also where its installer leaves it without putting it on the PATH. */
export function findNvcc(): string | undefined {
  const home = process.env['CUDA_HOME'] || '/usr/local/cuda';
  return which(process.env['CUDACXX'] || 'nvcc') ?? which(`${home}/bin/nvcc`);
}

/** What to build the CUDA path with, or undefined to build for the CPU alone. */
export async function chooseCuda(libtorch: LibTorch, log: Log): Promise<Cuda | undefined> {
  if (cudaSetting() === '0') return undefined;
  if (!libtorch.cuda) {
    if (!wantsCuda()) return undefined;
    throw setupFailed(`LIGHT_PEFT_CUDA=1, but LibTorch ${libtorch.version} in ${libtorch.dir} has no CUDA`);
  }
  try {
    return await findCuda(libtorch);
  } catch (error) {
    if (!(error instanceof LightPeftError)) throw error;
    if (wantsCuda()) throw setupFailed(`LIGHT_PEFT_CUDA=1, but ${error.message}`, error);
    log(`LibTorch has CUDA, but ${error.message}: the addon will compute on the CPU`);
    return undefined;
  }
}

async function findCuda(libtorch: LibTorch): Promise<Cuda> {
  const program = findNvcc();
  if (program === undefined) throw setupFailed('no nvcc found (PATH, CUDACXX, CUDA_HOME, /usr/local/cuda)');
  const nvcc = await askNvcc(program);

  // The loader knows where LibTorch's CUDA runtime is: in a wheel beside it, in a toolkit, in an environment.
  const library = join(libtorch.dir, 'lib/libc10_cuda.so');
  const linked = await runProgram('ldd', [library], { timeoutSeconds: 20 });
  const cudart = parseCudart(linked.output);
  if (cudart === undefined) throw setupFailed(`the loader finds no libcudart for ${library}`);
  if (cudart.major !== nvcc.version.split('.')[0]) {
    throw setupFailed(`LibTorch is of CUDA ${cudart.major} and ${program} of CUDA ${nvcc.version}`);
  }

  const includes = [...wheelIncludes(libtorch.dir), ...nvcc.includes];
  const missing = ['cuda_runtime_api.h', 'crt/host_defines.h'].find(
    // A distribution's own package may have them where every compiler looks.
    (name) => ![...includes, '/usr/include'].some((folder) => existsSync(join(folder, name))),
  );
  if (missing !== undefined) throw setupFailed(`there is no ${missing} beside LibTorch or ${program}`);
  return { nvcc, includes, cudart: cudart.file };
}

/** The program may be a script in front of the real one, so it is asked for what it would do. */
export async function askNvcc(program: string): Promise<Nvcc> {
  const args = ['--dryrun', '-E', '-x', 'cu', '/dev/null'];
  const { ok, output } = await runProgram(program, args, { timeoutSeconds: 20 });
  const nvcc = parseNvcc(program, output);
  if (!ok || nvcc === undefined) throw setupFailed(`${program} does not run: ${lastWord(output)}`);
  return nvcc;
}

/** What `nvcc --dryrun` prints: its settings, and the commands it would run. */
export function parseNvcc(program: string, output: string): Nvcc | undefined {
  const [folder] = setting('_HERE_', output);
  const [, major] = /-D__CUDACC_VER_MAJOR__=(\d+)/.exec(output) ?? [];
  const [, minor] = /-D__CUDACC_VER_MINOR__=(\d+)/.exec(output) ?? [];
  if (folder === undefined || major === undefined || minor === undefined) return undefined;
  const includes = [
    ...setting('INCLUDES', output)
      .join(' ')
      .matchAll(/"-I([^"]+)"/g),
  ].map(([, name]) => resolve(name ?? ''));
  return { program, folder, version: `${major}.${minor}`, includes };
}

const setting = (name: string, output: string): string[] =>
  [...output.matchAll(new RegExp(`^#\\$ ${name}=(.*)$`, 'gm'))].map(([, value]) => value ?? '');

/** The CUDA runtime among what `ldd` lists; archives of LibTorch have a hash in its name. */
export function parseCudart(output: string): { file: string; major: string } | undefined {
  const [, major, file] = /^\s*libcudart[^\s/]*\.so\.(\d+)\S* => (\/.+) \(0x/m.exec(output) ?? [];
  return major !== undefined && file !== undefined ? { file: resolve(file), major } : undefined;
}

/** The headers of the wheels that a Python torch with CUDA needs: they lie beside it. */
function wheelIncludes(torch: string): string[] {
  const wheels = join(dirname(torch), 'nvidia');
  if (!existsSync(wheels)) return [];
  return readdirSync(wheels)
    .sort()
    .map((name) => join(wheels, name, 'include'))
    .filter((folder) => existsSync(folder));
}
