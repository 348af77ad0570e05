import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { expect } from 'chai';
import { PredictionsFile } from '../../lib/predictions-file.ts';
import { Broken } from '../checkpoint/broken.ts';

describe('a file of predictions', () => {
  let scratch: Broken;
  beforeEach(() => {
    scratch = new Broken();
    mkdirSync(scratch.path('adapter'));
    for (const name of [
      'input.jsonl',
      'adapter/plan.json',
      'adapter/light_adapter.safetensors',
      'adapter/told.jsonl',
    ])
      writeFileSync(scratch.path(name), 'as it was');
  });
  afterEach(() => scratch.dispose());

  const write = async (name: string) => {
    const read = { input: scratch.path('input.jsonl') };
    await (await PredictionsFile.of(scratch.path(name), read)).write('told\n');
  };

  it('replaces one of its kind, and is made where there is none, with its folder', async () => {
    for (const name of ['adapter/told.jsonl', 'folder/new.jsonl']) {
      await write(name);
      expect(readFileSync(scratch.path(name), 'utf8')).equal('told\n');
    }
  });

  it('replaces nothing that is read', async () => {
    symlinkSync(scratch.path('input.jsonl'), scratch.path('link.jsonl'));
    for (const name of [
      'input.jsonl',
      'link.jsonl',
      'adapter/plan.json',
      'adapter/adapter_config.json',
      'adapter',
    ])
      expect(await scratch.failure(() => write(name)), name).match(/^BAD_OPTION --out: .* is /);
    for (const name of ['input.jsonl', 'adapter/plan.json'])
      expect(readFileSync(scratch.path(name), 'utf8')).equal('as it was');
  });

  it('may be beside what else lies where the process is', async () => {
    writeFileSync(scratch.path('old.txt'), 'old');
    writeFileSync(scratch.path('config.json'), '{}');
    const before = process.cwd();
    process.chdir(scratch.folder);
    try {
      await (await PredictionsFile.of('old.txt', { input: 'input.jsonl' })).write('told\n');
    } finally {
      process.chdir(before);
    }
    expect(readFileSync(scratch.path('old.txt'), 'utf8')).equal('told\n');
  });

  it('is what a link leads to', async () => {
    writeFileSync(scratch.path('there.txt'), '');
    symlinkSync(scratch.path('there.txt'), scratch.path('link.txt'));
    await write('link.txt');
    expect(readFileSync(scratch.path('there.txt'), 'utf8')).equal('told\n');
  });

  it('goes into a pipe, which stays one', async () => {
    execFileSync('mkfifo', [scratch.path('pipe')]);
    const reader = spawn('cat', [scratch.path('pipe')]);
    const found = once(reader.stdout, 'data');
    await write('pipe');
    expect(String((await found)[0])).equal('told\n');
    expect(statSync(scratch.path('pipe')).isFIFO()).equal(true);
  });
});
