import { expect } from 'chai';
import { isSupported, parseVersion } from '../../scripts/setup/inspect.ts';
import { findLibTorch } from '../../scripts/setup/libtorch.ts';
import { archive, downloadUrl, wheel } from '../../scripts/setup/release.ts';
import { rejection } from './rejection.ts';
import { Scratch } from './scratch.ts';

describe('finding LibTorch', () => {
  let scratch: Scratch;
  beforeEach(() => (scratch = new Scratch()));
  afterEach(() => scratch.dispose());

  const find = () => findLibTorch(() => undefined);

  it('reads the version of a Python package and of an archive', () => {
    expect(parseVersion("from typing import Optional\n__version__ = '2.13.0+cpu'\ndebug = False\n")).to.equal(
      '2.13.0+cpu',
    );
    expect(parseVersion('__version__: str = "2.11.1"\n')).to.equal('2.11.1');
    expect(parseVersion('2.12.0+cu130\n')).to.equal('2.12.0+cu130');
    expect(parseVersion('2.14.0a0+gitabc')).to.equal('2.14.0a0+gitabc');
    expect(parseVersion('')).to.be.undefined;
    expect(parseVersion('debug = False')).to.be.undefined;
  });

  it('supports 2.11 to 2.14', () => {
    const versions = ['2.11.0', '2.13.0+cpu', '2.14.2', '2.10.1', '2.15.0', '1.13.0', '3.12.0', '2'];
    expect(versions.map(isSupported)).to.deep.equal([true, true, true, false, false, false, false, false]);
  });

  it('takes the folder that LIBTORCH names', async () => {
    const dir = scratch.writeLibTorch('torch', 'version.py', "__version__ = '2.12.1+cu130'\n");
    scratch.write('torch/lib/libtorch_cuda.so');
    scratch.setEnv('LIBTORCH', dir);
    expect(await find()).to.deep.equal({ dir, version: '2.12.1+cu130', cuda: true, source: 'LIBTORCH' });
  });

  it('does not look further when LIBTORCH is unusable', async () => {
    for (const [dir, reason] of [
      [scratch.path('nowhere'), /has no include\/ATen\/ATen\.h$/],
      [
        scratch.writeLibTorch('old', 'build-version', '2.4.0\n'),
        /is LibTorch 2\.4\.0; supported are 2\.11 to 2\.14$/,
      ],
      [scratch.writeLibTorch('vague', 'build-version', 'who knows'), /neither version\.py nor build-version/],
    ] as const) {
      scratch.setEnv('LIBTORCH', dir);
      const error = await rejection(find);
      expect(error.code).to.equal('SETUP_FAILED');
      expect(error.message).to.match(reason);
    }
  });

  it('downloads from the official server, or from a mirror', () => {
    scratch.setEnv('LIGHT_PEFT_DOWNLOAD_URL', undefined);
    expect(downloadUrl(archive)).to.equal(
      'https://download.pytorch.org/libtorch/cpu/libtorch-shared-with-deps-2.13.0%2Bcpu.zip',
    );
    scratch.setEnv('LIGHT_PEFT_DOWNLOAD_URL', 'http://127.0.0.1:1/mirror/');
    expect(downloadUrl(wheel)).to.equal(
      'http://127.0.0.1:1/mirror/whl/cpu/torch-2.13.0%2Bcpu-cp311-cp311-manylinux_2_28_x86_64.whl',
    );
  });
});
