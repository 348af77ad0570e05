import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, symlinkSync, utimesSync } from 'node:fs';
import { hostname } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { withLock } from '../../scripts/setup/lock.ts';
import { projectRoot } from '../../scripts/setup/paths.ts';
import { Scratch } from './scratch.ts';

describe('the set-up lock', () => {
  let scratch: Scratch;
  let lines: string[];
  const log = (line: string): void => void lines.push(line);

  beforeEach(() => {
    scratch = new Scratch();
    lines = [];
  });
  afterEach(() => scratch.dispose());

  it('lets one in at a time, and says that the other waits', async () => {
    const file = scratch.path('lock');
    let inside = 0;
    let most = 0;
    const work = async (): Promise<void> => {
      most = Math.max(most, ++inside);
      await sleep(30);
      inside -= 1;
    };
    await Promise.all([withLock(file, log, work), withLock(file, log, work), withLock(file, log, work)]);
    expect(most).to.equal(1);
    expect(lines[0]).to.match(new RegExp(`waiting for process ${process.pid}`));
    expect(readdirSync(scratch.dir)).to.deep.equal([]);
  });

  it('is released when the work fails', async () => {
    const file = scratch.path('lock');
    const failing = withLock(file, log, () => Promise.reject(new Error('no')));
    expect(await failing.catch((error: Error) => error.message)).to.equal('no');
    expect(existsSync(file)).to.be.false;
  });

  it('takes the place of a link to nothing', async () => {
    const file = scratch.path('lock');
    symlinkSync(scratch.path('nowhere'), file);
    expect(await withLock(file, log, () => Promise.resolve(1))).to.equal(1);
    expect(readdirSync(scratch.dir)).to.deep.equal([]);
  });

  it('is taken over from a process that was killed', async () => {
    const file = scratch.path('lock');
    const holder = spawn(
      process.execPath,
      [
        '--import=tsx',
        '--input-type=module',
        '--eval',
        `import { withLock } from './scripts/setup/lock.ts';
         await withLock(${JSON.stringify(file)}, () => {}, () => new Promise(() => {
           setInterval(() => {}, 1000);
           console.log('held');
         }));`,
      ],
      { cwd: projectRoot, stdio: ['ignore', 'pipe', 'inherit'] },
    );
    await once(holder.stdout, 'data');
    holder.kill('SIGKILL');
    await once(holder, 'close');
    expect(existsSync(file)).to.be.true;

    // Many at once: taking over must not let two in.
    let inside = 0;
    const results = await Promise.all(
      Array.from({ length: 5 }, () =>
        withLock(file, log, async () => {
          const alone = ++inside === 1;
          await sleep(5);
          inside -= 1;
          return alone;
        }),
      ),
    );
    expect(results).to.deep.equal([true, true, true, true, true]);
    expect(readdirSync(scratch.dir)).to.deep.equal([]);
  });

  it('is not fooled by a pid that was given out again', async () => {
    const stale = { pid: process.pid, started: '1', host: hostname(), token: 'a' };
    const file = scratch.write('lock', JSON.stringify(stale));
    expect(await withLock(file, log, () => Promise.resolve('in'))).to.equal('in');
  });

  it('is taken over when its file is not whole, or no lock', async () => {
    for (const text of ['', '{"pid"', 'null', '{}', '[5]']) {
      const file = scratch.write('lock', text);
      expect(await withLock(file, log, () => Promise.resolve('in'))).to.equal('in');
    }
  });

  it('is taken over from another host only when that has been silent', async () => {
    const { pid } = spawnSync('true');
    const file = scratch.write('lock', JSON.stringify({ pid, started: '1', host: 'elsewhere', token: 'a' }));
    let entered = false;
    const work = withLock(file, log, () => Promise.resolve((entered = true)));
    await sleep(50);
    expect(entered).to.be.false;
    utimesSync(file, new Date(0), new Date(0));
    expect(await work).to.be.true;
  });
});
