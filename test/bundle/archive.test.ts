import { readdirSync, readFileSync } from 'node:fs';
import { expect } from 'chai';
import { pack } from '../../scripts/bundle/archive.ts';
import { runProgram, which } from '../../scripts/setup/program.ts';
import { rejection } from '../setup/rejection.ts';
import { Scratch } from '../setup/scratch.ts';

describe("a bundle's archive", () => {
  let scratch: Scratch;
  before(function () {
    if (which('xz') === undefined) this.skip();
  });
  beforeEach(() => {
    scratch = new Scratch();
    scratch.write('folder/bin/node', 'node');
    scratch.write('folder/light-peft', 'sh');
  });
  afterEach(() => scratch.dispose());

  it('unpacks to the folder that it was made of', async () => {
    const file = scratch.path('deep/a.tar.xz');
    const size = await pack(scratch.path('folder'), file, 1e6);
    expect(size).to.equal(readFileSync(file).length);
    expect(readdirSync(scratch.path('deep'))).to.deep.equal(['a.tar.xz']);
    await runProgram('tar', ['-xf', file], { cwd: scratch.path('deep') });
    expect(readFileSync(scratch.path('deep/folder/bin/node'), 'utf8')).to.equal('node');
  });

  it('that is too large is refused, and what was there stays', async () => {
    const file = scratch.write('a.tar.xz', 'before');
    const error = await rejection(() => pack(scratch.path('folder'), file, 100));
    expect(error.code).to.equal('SETUP_FAILED');
    expect(error.message).to.match(/^a\.tar\.xz would have 0\.0 MB; at most 0\.0 MB are allowed$/);
    expect(readFileSync(file, 'utf8')).to.equal('before');
    expect(readdirSync(scratch.dir).sort()).to.deep.equal(['a.tar.xz', 'folder']);
  });

  it('where it cannot be written is refused', async () => {
    for (const file of ['/proc/none/a.tar.xz', scratch.dir]) {
      const error = await rejection(() => pack(scratch.path('folder'), file, 1e6));
      expect(error.code, file).to.equal('IO');
    }
  });
});
