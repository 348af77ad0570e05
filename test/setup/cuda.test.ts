import { chmodSync } from 'node:fs';
import { expect } from 'chai';
import { chooseCuda, parseCudart, parseNvcc } from '../../scripts/setup/cuda.ts';
import type { LibTorch } from '../../scripts/setup/inspect.ts';
import { rejection } from './rejection.ts';
import { Scratch } from './scratch.ts';

const dryrun = [
  '#$ _HERE_=/opt/cuda/bin',
  '#$ _THERE_=/opt/cuda/bin',
  '#$ INCLUDES="-I/opt/cuda/bin/../targets/x86_64-linux/include"  ',
  '#$ SYSTEM_INCLUDES="-isystem" "/opt/cuda/include/cccl"  ',
  '#$ gcc -D__CUDACC_VER_MAJOR__=13 -D__CUDACC_VER_MINOR__=0 -D__CUDACC_VER_BUILD__=88 -E "/dev/null"',
].join('\n');

const ldd = (file: string): string =>
  ['\tlinux-vdso.so.1 (0x00007f44)', `\tlibcudart.so.13 => ${file} (0x00007f45)`].join('\n');

describe('finding CUDA', () => {
  let scratch: Scratch;
  let libtorch: LibTorch;
  let lines: string[];
  const choose = () => chooseCuda(libtorch, (line) => void lines.push(line));

  /** A program that prints `text`, as the only one of its name. */
  const program = (name: string, text: string, status = 0): string => {
    const file = scratch.write(`bin/${name}`, `#!/bin/sh\ncat <<'END'\n${text}\nEND\nexit ${status}\n`);
    chmodSync(file, 0o755);
    return file;
  };

  beforeEach(() => {
    scratch = new Scratch();
    lines = [];
    scratch.setEnv('PATH', `${scratch.path('bin')}:/usr/bin:/bin`);
    scratch.setEnv('CUDACXX', program('nvcc', dryrun));
    scratch.setEnv('LIGHT_PEFT_CUDA', '1');
    program('ldd', ldd(scratch.path('torch/lib/../../nvidia/cu13/lib/libcudart.so.13')));
    const dir = scratch.writeLibTorch('torch', 'version.py', "__version__ = '2.14.1+cu130'\n");
    for (const name of ['cuda_runtime_api.h', 'crt/host_defines.h']) {
      scratch.write(`nvidia/cu13/include/${name}`);
    }
    libtorch = { dir, version: '2.14.1+cu130', cuda: true, source: 'LIBTORCH' };
  });
  afterEach(() => scratch.dispose());

  it("takes LibTorch's own runtime and headers, and nvcc's behind them", async () => {
    const nvcc = scratch.path('bin/nvcc');
    const own = '/opt/cuda/targets/x86_64-linux/include';
    expect(await choose()).to.deep.equal({
      nvcc: { program: nvcc, folder: '/opt/cuda/bin', version: '13.0', includes: [own] },
      includes: [scratch.path('nvidia/cu13/include'), own],
      cudart: scratch.path('nvidia/cu13/lib/libcudart.so.13'),
    });
  });

  const lacks: [string, () => void, RegExp][] = [
    ['nvcc', () => absent(), /no nvcc found \(PATH, CUDACXX, CUDA_HOME, \/usr\/local\/cuda\)/],
    [
      'an nvcc that runs',
      () => program('nvcc', 'error: no licence', 1),
      /nvcc does not run: error: no licence/,
    ],
    [
      "LibTorch's runtime",
      () => program('ldd', '\tlibcudart.so.13 => not found'),
      /finds no libcudart for \S+/,
    ],
    [
      'an nvcc of its version',
      () => program('nvcc', dryrun.replace('MAJOR__=13', 'MAJOR__=12')),
      /LibTorch is of CUDA 13 and \S+ of CUDA 12\.0/,
    ],
    [
      'headers',
      () => (libtorch = { ...libtorch, dir: scratch.path('elsewhere/torch') }),
      /there is no cuda_runtime_api\.h beside LibTorch or \S+nvcc/,
    ],
  ];
  const absent = (): void => {
    scratch.setEnv('CUDACXX', scratch.path('nowhere'));
    scratch.setEnv('CUDA_HOME', scratch.path('nowhere'));
  };

  for (const [what, remove, reason] of lacks) {
    it(`that lacks ${what} is refused where it was asked for, and else said`, async () => {
      remove();
      const error = await rejection(choose);
      expect(error.code).to.equal('SETUP_FAILED');
      expect(error.message)
        .to.match(/^LIGHT_PEFT_CUDA=1, but /)
        .and.to.match(reason);

      scratch.setEnv('LIGHT_PEFT_CUDA', undefined);
      expect(await choose()).to.be.undefined;
      expect(lines.join('\n')).to.match(reason);
    });
  }

  it('is not done for a LibTorch without it, nor where it is refused', async () => {
    scratch.setEnv('LIGHT_PEFT_CUDA', '0');
    expect(await choose()).to.be.undefined;
    libtorch = { ...libtorch, cuda: false, version: '2.14.1+cpu' };
    scratch.setEnv('LIGHT_PEFT_CUDA', undefined);
    expect(await choose()).to.be.undefined;
    expect(lines).to.deep.equal([]);
    scratch.setEnv('LIGHT_PEFT_CUDA', '1');
    expect((await rejection(choose)).message).to.match(/LibTorch 2\.14\.1\+cpu in \S+ has no CUDA$/);
  });

  it('reads what nvcc and the loader say', () => {
    expect(parseNvcc('nvcc', 'nvcc fatal   : no')).to.be.undefined;
    expect(parseCudart(ldd('/usr/my torch/lib/libcudart.so.13'))).to.deep.equal({
      file: '/usr/my torch/lib/libcudart.so.13',
      major: '13',
    });
    expect(parseCudart('\tlibcudart-c3a75b33.so.12 => /t/libcudart-c3a75b33.so.12 (0x0)')).to.deep.equal({
      file: '/t/libcudart-c3a75b33.so.12',
      major: '12',
    });
  });
});
