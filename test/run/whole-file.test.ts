import { expect } from 'chai';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { readWhole, whole } from '../../lib/result-folder.ts';
import { type WholeFile, writeTogether } from '../../lib/whole-file.ts';
import { Broken } from '../checkpoint/broken.ts';

describe('files that belong together', () => {
  let scratch: Broken;
  beforeEach(() => {
    scratch = new Broken();
  });
  afterEach(() => scratch.dispose());

  const names = ['a', 'b', 'c'];
  const files = (pieces: (name: string) => WholeFile['pieces']): WholeFile[] =>
    names.map((name) => ({ file: scratch.path(name), pieces: pieces(name) }));
  const found = () => names.map((name) => readFileSync(scratch.path(name), 'utf8'));

  it('take the places of earlier ones, and those that are to be gone are gone', async () => {
    await writeTogether(files((name) => ['old ', name]));
    expect(found()).to.deep.equal(['old a', 'old b', 'old c']);
    await writeTogether(files((name) => (name === 'b' ? null : [name])));
    expect(readdirSync(scratch.folder).sort()).to.deep.equal(['a', 'c']);
  });

  it('leave earlier ones as they are where one cannot be written', async () => {
    for (const name of names) writeFileSync(scratch.path(name), name);
    const last = files((name) => (name === 'c' ? [Symbol('no bytes') as never] : ['new']));
    expect(await scratch.failure(() => writeTogether(last))).to.match(/^IO .*c: /);
    expect(found()).to.deep.equal(names);
    expect(readdirSync(scratch.folder)).to.have.length(3);
  });

  it('leave earlier ones as they are where one cannot take its place', async () => {
    for (const name of ['a', 'c']) writeFileSync(scratch.path(name), name);
    mkdirSync(scratch.path('b'));
    const failure = await scratch.failure(() => writeTogether(files(() => ['new'])));
    expect(failure).to.equal('IO b: a folder is in its place');
    expect(['a', 'c'].map((name) => readFileSync(scratch.path(name), 'utf8'))).to.deep.equal(['a', 'c']);
    expect(readdirSync(scratch.folder)).to.have.length(3);
  });

  it('are waited for by several who read them at once', async () => {
    const temporary = 'a.00000000-0000-0000-0000-000000000000.tmp';
    writeFileSync(scratch.path(temporary), 'new');
    writeFileSync(scratch.path('.saving.json'), JSON.stringify([{ file: 'a', temporary }]));
    await Promise.all(Array.from({ length: 4 }, () => whole(scratch.folder)));
    expect(readdirSync(scratch.folder)).to.deep.equal(['a']);
  });

  it('are read again where they were replaced meanwhile', async () => {
    const read = () => names.map((name) => readFileSync(scratch.path(name), 'utf8'));
    await writeTogether(files((name) => ['old ', name]));
    let readings = 0;
    const found = await readWhole(scratch.folder, 'c', async () => {
      const first = read()[0]!;
      if (readings++ === 0) await writeTogether(files((name) => ['new ', name]));
      return [first, ...read().slice(1)];
    });
    expect([found, readings]).to.deep.equal([['new a', 'new b', 'new c'], 2]);
  });

  it('are left alone where what lists them is not what this writes', async () => {
    writeFileSync(scratch.path('a'), 'old');
    for (const journal of [
      '',
      '[]',
      '[{"file":"../a","temporary":null}]',
      '[{"file":"a","temporary":".."}]',
      '[{"file":"a"}]',
    ]) {
      writeFileSync(scratch.path('.saving.json'), journal);
      expect(await scratch.failure(() => whole(scratch.folder))).to.match(/^IO .saving.json: /);
      expect(readFileSync(scratch.path('a'), 'utf8')).to.equal('old');
    }
  });

  const [OLD, NEW] = ['["old a","old b","old c"]', '["new a",null,"new c"]'] as const;
  for (const side of ['before', 'after'])
    it(`are the old ones or the new ones where a process was killed ${side} any rename`, async () => {
      const saver = join(import.meta.dirname, 'killed-saver.ts');
      const seen = new Set<string>();
      for (let count = 1, killed = true; killed; count++) {
        for (const name of names) writeFileSync(scratch.path(name), `old ${name}`);
        const args = ['--import', 'tsx', saver, scratch.folder, String(count), side];
        const { status, signal } = spawnSync(process.execPath, args);
        killed = signal === 'SIGKILL';
        expect(killed || status === 0).to.equal(true);
        await whole(scratch.folder);
        const left = names.map((name) =>
          existsSync(scratch.path(name)) ? readFileSync(scratch.path(name), 'utf8') : null,
        );
        const set = JSON.stringify(left);
        expect([OLD, NEW], `${count}`).to.include(set);
        if (killed) seen.add(set);
        for (const name of readdirSync(scratch.folder)) rmSync(scratch.path(name));
      }
      expect([...seen]).to.deep.equal(side === 'before' ? [OLD, NEW] : [NEW]);
    });
});
