import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { expect } from 'chai';
import { placeLibTorch, unpack } from '../../scripts/setup/archive.ts';
import { cachedLibTorch, install } from '../../scripts/setup/cache.ts';
import type { Release } from '../../scripts/setup/release.ts';
import { Scratch, libTorchFiles } from './scratch.ts';
import { rejection } from './rejection.ts';
import { makeZip } from './zip.ts';

const quiet = (): void => undefined;

describe('a LibTorch archive', () => {
  let scratch: Scratch;
  beforeEach(() => {
    scratch = new Scratch();
    scratch.setEnv('XDG_CACHE_HOME', scratch.path('cache'));
  });
  afterEach(() => scratch.dispose());

  const release = (sha256: string): Release => ({
    file: 'torch.whl',
    path: 'whl/cpu',
    sha256,
    megabytes: 1,
    root: 'torch/',
  });

  const bringing =
    (bytes: Buffer) =>
    (folder: string): Promise<string> => {
      const name = `${folder.slice(scratch.dir.length + 1)}/torch.whl`;
      return Promise.resolve(scratch.write(name, bytes));
    };

  it('gives up headers and libraries, and nothing of Python or the tests', () => {
    const place = placeLibTorch('torch/');
    expect(place('torch/include/ATen/ATen.h')).to.equal('include/ATen/ATen.h');
    expect(place('torch/lib/libtorch_cpu.so')).to.equal('lib/libtorch_cpu.so');
    expect(place('torch/lib/libgomp.so.1')).to.equal('lib/libgomp.so.1');
    for (const name of [
      'torch/lib/libtorch_python.so',
      'torch/lib/libjitbackend_test.so',
      'torch/lib/libtorchbind_test.so',
      'torch/lib/libshm/socket.h',
      'torch/nn/functional.py',
      'torchgen/include/a.h',
    ]) {
      expect(place(name), name).to.be.undefined;
    }
  });

  it('is unpacked into the cache, and its download removed', async () => {
    const entries = Object.fromEntries(libTorchFiles.map((name) => [`torch/${name}`, name]));
    const bytes = makeZip({ ...entries, 'torch/nn/functional.py': 'import this' });
    const sha256 = createHash('sha256').update(bytes).digest('hex');
    const libtorch = await install(release(sha256), bringing(bytes), quiet);

    expect(libtorch).to.include({ version: '2.13.0+cpu', cuda: false });
    expect(readFileSync(`${libtorch.dir}/lib/libgomp.so.1`, 'utf8')).to.equal('lib/libgomp.so.1');
    expect(readdirSync(libtorch.dir).sort()).to.deep.equal([
      'build-version',
      'complete.json',
      'include',
      'lib',
    ]);
    expect(readdirSync(scratch.path('cache/light-peft'))).to.deep.equal(['libtorch-2.13.0+cpu']);
  });

  it('with another checksum is refused, and nothing of it is left', async () => {
    const error = await rejection(() => install(release('0'.repeat(64)), bringing(makeZip({})), quiet));
    expect(error.code).to.equal('SETUP_FAILED');
    expect(error.message).to.match(
      /^torch\.whl is not the published file: its sha256 is [0-9a-f]{64}, not 0+$/,
    );
    expect(readdirSync(scratch.path('cache/light-peft'))).to.deep.equal([]);
  });

  it('without the OpenMP runtime is refused, and nothing of it is left', async () => {
    const names = libTorchFiles.filter((name) => !name.includes('gomp'));
    const bytes = makeZip(Object.fromEntries(names.map((name) => [`torch/${name}`, name])));
    const sha256 = createHash('sha256').update(bytes).digest('hex');
    const error = await rejection(() => install(release(sha256), bringing(bytes), quiet));
    expect(error.message).to.contain('it has no lib/libgomp.so.1');
    expect(readdirSync(scratch.path('cache/light-peft'))).to.deep.equal([]);
  });

  it('cannot write outside its folder', async () => {
    const file = scratch.write('evil.zip', makeZip({ '../outside': 'x' }));
    const failure: unknown = await unpack(file, scratch.path('inside'), (name) => name).catch(
      (error: unknown) => error,
    );
    expect(String(failure)).to.contain('invalid relative path');
    expect(existsSync(scratch.path('outside'))).to.be.false;
  });

  it('in the cache counts only with its last file', async () => {
    const name = 'cache/light-peft/libtorch-2.13.0+cpu';
    expect((await rejection(cachedLibTorch)).message).to.contain('does not exist yet');
    scratch.writeLibTorch(name, 'build-version', '2.13.0+cpu');
    expect((await rejection(cachedLibTorch)).message).to.contain('is not complete');
    scratch.write(`${name}/complete.json`, '{"sha256":"0000"}');
    expect((await rejection(cachedLibTorch)).message).to.contain('is not complete');
  });
});
