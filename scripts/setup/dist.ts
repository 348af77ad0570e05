import { existsSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { setupFailed } from './failure.ts';
import { withLock } from './lock.ts';
import type { Log } from './log.ts';
import { projectRoot } from './paths.ts';
import { runProgram } from './program.ts';
import { hashTree, readStamp, writeStamp } from './stamp.ts';

const sources = ['lib', 'tsconfig.json', 'tsconfig.build.json'];

/** Compiles lib/ into dist/ when it has changed, so that `import 'light-peft'` works by self-reference. */
export async function buildDist(log: Log, root = projectRoot): Promise<void> {
  if (isUpToDate(root)) return;
  const tsc = findTsc();
  if (tsc === undefined) {
    // An install without development tools uses the dist/ it came with.
    if (existsSync(join(root, 'dist/lib/index.js'))) return;
    throw setupFailed('there is no dist/ and no typescript to make it with: run npm install');
  }
  await withLock(join(root, 'build/lock'), log, async () => {
    if (isUpToDate(root)) return;
    const hash = hashTree(root, sources);
    log('compiling lib/ (about 5 seconds) …');
    // Into a new folder that takes the old one's place: outputs of deleted sources do not stay behind.
    const fresh = join(root, 'build/dist.part');
    rmSync(fresh, { recursive: true, force: true });
    mkdirSync(fresh, { recursive: true });
    const args = [tsc, '-p', join(root, 'tsconfig.build.json'), '--outDir', fresh, '--pretty', 'false'];
    const outcome = await runProgram(process.execPath, args, { cwd: root });
    if (!outcome.ok) {
      for (const line of outcome.output.trim().split('\n').slice(0, 10)) log(`  ${line}`);
      throw setupFailed('lib/ does not compile');
    }
    writeStamp(join(fresh, '.stamp'), { hash });
    rmSync(join(root, 'dist'), { recursive: true, force: true });
    renameSync(fresh, join(root, 'dist'));
  });
}

function isUpToDate(root: string): boolean {
  const stamp = readStamp(join(root, 'dist/.stamp')) as { hash?: string } | undefined;
  return stamp?.hash !== undefined && stamp.hash === hashTree(root, sources);
}

function findTsc(): string | undefined {
  try {
    return createRequire(import.meta.url).resolve('typescript/bin/tsc');
  } catch {
    return undefined;
  }
}
