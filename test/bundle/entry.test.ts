import { spawnSync } from 'node:child_process';
import { chmodSync, copyFileSync, mkdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { projectRoot } from '../../scripts/setup/paths.ts';
import { Scratch } from '../setup/scratch.ts';

describe("a bundle's light-peft", () => {
  let scratch: Scratch;
  beforeEach(() => {
    scratch = new Scratch();
    mkdirSync(scratch.path('a folder/bin'), { recursive: true });
    symlinkSync(process.execPath, scratch.path('a folder/bin/node'));
    copyFileSync(join(projectRoot, 'scripts/bundle/light-peft.sh'), scratch.path('a folder/light-peft'));
    chmodSync(scratch.path('a folder/light-peft'), 0o755);
    const scripts = {
      show: 'node show.cjs one',
      'test:gpu': 'node show.cjs gpu',
      lint: 'eslint . && prettier .',
    };
    scratch.write('a folder/package.json', JSON.stringify({ type: 'module', scripts }));
    scratch.write(
      'a folder/show.cjs',
      'console.log(JSON.stringify([process.cwd(), ...process.argv.slice(2)])); process.exitCode = 3;',
    );
  });
  afterEach(() => scratch.dispose());

  const run = (...args: string[]) =>
    spawnSync(scratch.path('a folder/light-peft'), args, {
      cwd: '/',
      env: { PATH: '/usr/bin:/bin' },
      encoding: 'utf8',
    });

  it('runs a script of package.json in its folder with the words that follow, and ends as it does', () => {
    const given = ['--json', 'a  b', '$HOME "*"', '--', ''];
    const { status, stdout, stderr } = run('show', ...given);
    expect(stderr).to.equal('');
    expect(JSON.parse(stdout)).to.deep.equal([scratch.path('a folder'), 'one', ...given]);
    expect(status).to.equal(3);
    expect(JSON.parse(run('test:gpu').stdout)).to.deep.equal([scratch.path('a folder'), 'gpu']);
  });

  it('takes the words as npm does too', () => {
    expect(JSON.parse(run('show', '--', '--json').stdout)).to.deep.equal([
      scratch.path('a folder'),
      'one',
      '--json',
    ]);
  });

  it('says what there is to run', () => {
    for (const words of [[], ['lint'], ['constructor'], ['--help']]) {
      const { status, stderr } = run(...words);
      expect(status).to.equal(2);
      expect(stderr).to.equal(
        `light-peft: [BAD_OPTION] no script is called '${words[0] ?? ''}'; there are show, test:gpu\n`,
      );
    }
  });
});
