import { chmodSync, copyFileSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { Command } from 'commander';
import { megabytes, pack } from './bundle/archive.ts';
import { packageFiles, projectFiles } from './bundle/contents.ts';
import { copyNode } from './bundle/node.ts';
import { COMMIT, commitOf } from './printed.ts';
import { buildDist } from './setup/dist.ts';
import { orExit } from './setup/index.ts';
import { withLock } from './setup/lock.ts';
import { logToStderr as log } from './setup/log.ts';
import { projectRoot } from './setup/paths.ts';

/** What still passes through most ways to a host that has no network of its own. */
const LIMIT = 40_000_000;
/** What the model of the demo may add; weights hardly get smaller. */
const DEMO_LIMIT = 15_000_000;

const given = new Command('gpu-bundle')
  .description(
    'Packs all that a GPU host without Node.js and without a network needs to build, test and run this.',
  )
  .option('--out <file>', 'the archive, a .tar.xz', join(projectRoot, 'build/light-peft-gpu.tar.xz'))
  .option('--with-demo', 'with the model of `npm run demo`')
  .parse()
  .opts<{ out: string; withDemo?: boolean }>();

await orExit(async () => {
  await buildDist(log);
  await withLock(join(projectRoot, 'build/gpu-bundle.lock'), log, async () => {
    const part = join(projectRoot, 'build/gpu-bundle.part');
    const folder = join(part, 'light-peft-gpu');
    rmSync(part, { recursive: true, force: true });
    try {
      const files = [...projectFiles(projectRoot, given.withDemo ?? false), ...packageFiles(projectRoot)];
      for (const file of files) {
        mkdirSync(dirname(join(folder, file)), { recursive: true });
        // With the time of now: a build on the host is older, so that it is done again for what is unpacked over it.
        copyFileSync(join(projectRoot, file), join(folder, file));
      }
      writeFileSync(join(folder, COMMIT), `${(await commitOf(projectRoot)) ?? 'unknown'}\n`);
      await copyNode(join(folder, 'bin/node'));
      const entry = join(folder, 'light-peft');
      copyFileSync(join(projectRoot, 'scripts/bundle/light-peft.sh'), entry);
      chmodSync(entry, 0o755);
      log(`packing ${files.length + 3} files (one to two minutes) …`);
      const out = resolve(given.out);
      const size = await pack(folder, out, LIMIT + (given.withDemo ? DEMO_LIMIT : 0));
      log(`written: ${out}, ${megabytes(size)}`);
    } finally {
      rmSync(part, { recursive: true, force: true });
    }
  });
});
