import { rmSync } from 'node:fs';
import { expect } from 'chai';
import { type CurrentAddon, recordedAddon, upToDateAddon, hashSources } from '../../scripts/setup/current.ts';
import { compilerErrors } from '../../scripts/setup/buildlog.ts';
import { hashTree, readStamp, writeStamp } from '../../scripts/setup/stamp.ts';
import { Scratch } from './scratch.ts';

describe('stamps', () => {
  let scratch: Scratch;
  beforeEach(() => (scratch = new Scratch()));
  afterEach(() => scratch.dispose());

  it('change with content, names and absence', () => {
    const hash = (): string => hashTree(scratch.dir, ['native', 'CMakeLists.txt'], ['0.1.0']);
    const seen = [hash()];
    scratch.write('native/a.h', 'one');
    seen.push(hash());
    scratch.write('native/deep/b.h', 'two');
    seen.push(hash());
    scratch.write('native/a.h', 'ONE');
    seen.push(hash());
    rmSync(scratch.path('native/a.h'));
    scratch.write('native/c.h', 'ONE');
    seen.push(hash());
    scratch.write('CMakeLists.txt');
    seen.push(hash());
    expect(new Set(seen).size).to.equal(seen.length);
    expect(hash()).to.equal(seen.at(-1));
  });

  it('cut short or absent mean that the work is done again', () => {
    expect(readStamp(scratch.path('none'))).to.be.undefined;
    expect(readStamp(scratch.write('half', '{"key": "2.1'))).to.be.undefined;
    writeStamp(scratch.path('deep/whole'), { key: 1 });
    expect(readStamp(scratch.path('deep/whole'))).to.deep.equal({ key: 1 });
  });
});

describe('the recorded addon', () => {
  let scratch: Scratch;
  let current: CurrentAddon;

  beforeEach(() => {
    scratch = new Scratch();
    scratch.setEnv('LIBTORCH', undefined);
    scratch.setEnv('LIGHT_PEFT_CUDA', undefined);
    scratch.write('package.json', '{"version":"0.1.0"}');
    scratch.write('native/a.cc', 'int a;');
    scratch.write('build/key/Release/light_peft.node');
    const dir = scratch.writeLibTorch('torch', 'build-version', '2.13.0+cpu');
    current = {
      addon: 'build/key/Release/light_peft.node',
      libtorch: { dir, version: '2.13.0+cpu', cuda: false, source: 'LIBTORCH' },
      key: 'key',
      sourcesHash: hashSources(scratch.dir),
      cudaSetting: '',
    };
    writeStamp(scratch.path('build/current.json'), current);
  });
  afterEach(() => scratch.dispose());

  const isUpToDate = (): boolean => upToDateAddon(scratch.dir) !== undefined;

  it('is up to date while nothing changes, also with its own folder as LIBTORCH', () => {
    expect(upToDateAddon(scratch.dir)).to.deep.equal(current);
    scratch.setEnv('LIBTORCH', current.libtorch.dir);
    expect(isUpToDate()).to.be.true;
  });

  it('is out of date after an edit, a new version, another LIBTORCH or another LIGHT_PEFT_CUDA', () => {
    scratch.write('native/a.cc', 'int b;');
    expect(isUpToDate()).to.be.false;
    scratch.write('native/a.cc', 'int a;');
    expect(isUpToDate()).to.be.true;

    scratch.write('package.json', '{"version":"0.1.1"}');
    expect(isUpToDate()).to.be.false;
    scratch.write('package.json', '{"version":"0.1.0"}');

    scratch.setEnv('LIBTORCH', '/elsewhere');
    expect(isUpToDate()).to.be.false;
    scratch.setEnv('LIBTORCH', undefined);

    scratch.setEnv('LIGHT_PEFT_CUDA', '1');
    expect(isUpToDate()).to.be.false;
  });

  it('is out of date when it, its record or its LibTorch is gone', () => {
    rmSync(scratch.path('torch/lib'), { recursive: true });
    expect(isUpToDate()).to.be.false;
    scratch.write('torch/lib/libtorch_cpu.so');
    expect(isUpToDate()).to.be.true;
    rmSync(scratch.path(current.addon));
    expect(isUpToDate()).to.be.false;
    scratch.write('build/current.json', '{"addon":');
    expect(recordedAddon(scratch.dir)).to.be.undefined;
    expect(isUpToDate()).to.be.false;
  });
});

describe('the output of a failed build', () => {
  it('is cut down to what the compiler says', () => {
    const output = [
      '-- Configuring done',
      'INFO CMD BUILD',
      '[1/3] Building CXX object a.cc.o',
      'FAILED: a.cc.o ',
      '/usr/bin/g++ -DNAPI_VERSION=9 -I/include -o a.cc.o -c /native/a.cc',
      "\u001b[1m/native/a.cc:8:18:\u001b[m error: 'x' was not declared in this scope",
      '    8 | int f() { return x; }',
      'ninja: build stopped: subcommand failed.',
      'ERROR OMG Process terminated: 1',
      '',
    ];
    expect(compilerErrors(output.join('\n'))).to.deep.equal([
      'FAILED: a.cc.o ',
      "/native/a.cc:8:18: error: 'x' was not declared in this scope",
      '    8 | int f() { return x; }',
    ]);
  });

  it('is at most thirty lines, the last ones', () => {
    const lines = Array.from({ length: 99 }, (_, i) => `a.cc:${i}: error: no`);
    expect(compilerErrors(lines.join('\n'))).to.deep.equal(lines.slice(-30));
  });
});
