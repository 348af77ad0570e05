import { setupFailed } from './failure.ts';
import type { LibTorch } from './inspect.ts';
import type { Log } from './log.ts';
import { which } from './program.ts';

/** LIGHT_PEFT_CUDA: 1 asks for the CUDA kernels, 0 refuses them, unset lets LibTorch decide. */
export const cudaSetting = (): string => process.env['LIGHT_PEFT_CUDA'] ?? '';

export const wantsCuda = (): boolean => cudaSetting() === '1';

/** nvcc, also where its installer leaves it without putting it on the PATH. */
function findNvcc(): string | undefined {
  const home = process.env['CUDA_HOME'] || '/usr/local/cuda';
  return which(process.env['CUDACXX'] || 'nvcc') ?? which(`${home}/bin/nvcc`);
}

/** The nvcc to build CUDA kernels with, or undefined to build for the CPU alone. */
export function chooseNvcc(libtorch: LibTorch, log: Log): string | undefined {
  if (cudaSetting() === '0') return undefined;
  if (!libtorch.cuda) {
    if (!wantsCuda()) return undefined;
    throw setupFailed(`LIGHT_PEFT_CUDA=1, but LibTorch ${libtorch.version} in ${libtorch.dir} has no CUDA`);
  }
  const nvcc = findNvcc();
  if (nvcc === undefined) {
    const lack = 'no nvcc found (PATH, CUDACXX, CUDA_HOME, /usr/local/cuda)';
    if (wantsCuda()) throw setupFailed(`LIGHT_PEFT_CUDA=1, but ${lack}`);
    log(`LibTorch has CUDA, but ${lack}: the addon will compute on the CPU`);
  }
  return nvcc;
}
