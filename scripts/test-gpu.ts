import { spawn } from 'node:child_process';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { deviceOf } from '../lib/device.ts';
import { native } from '../lib/native.ts';
import { makeFolder, writeWhole } from '../lib/whole-file.ts';
import { resultFile, surroundingsOf } from './bench/gpu.ts';
import { orExit, runSetUpOrExit } from './setup/index.ts';
import { upToDateAddon } from './setup/current.ts';
import { logToStderr } from './setup/log.ts';
import { projectRoot } from './setup/paths.ts';

/** What the native check prints of one value. */
interface Comparison {
  op: string;
  what: string;
  dtype: string;
  error: number;
  bound: number;
}

interface MochaReport {
  stats: { passes: number; failures: number; pending: number; duration: number };
  failures: { fullTitle: string; err: { message?: string } }[];
}

/** A program's standard output; what it says besides goes on to the terminal. */
const outputOf = (program: string, args: string[], env: NodeJS.ProcessEnv = {}): Promise<string> =>
  new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      cwd: projectRoot,
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let output = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text));
    child.on('error', reject).on('close', () => resolve(output));
  });

/** Every op beside float64, both on the device: what is too far off, and the worst of each kind as a share of its bound. */
async function checkOps(program: string, device: string) {
  const lines = (await outputOf(program, ['--device', device])).trim().split('\n').filter(Boolean);
  const all = lines.map((line) => JSON.parse(line) as Comparison);
  const worst: Record<string, number> = {};
  for (const { op, dtype, error, bound } of all) {
    const kind = `${op.split(' ')[0]} ${dtype}`;
    worst[kind] = Math.max(worst[kind] ?? 0, bound > 0 ? error / bound : Number(error > 0));
  }
  return { comparisons: all.length, wrong: all.filter(({ error, bound }) => !(error <= bound)), worst };
}

/** The engine's tests and those of whole runs, every model of theirs on the device. */
async function runTests(device: string): Promise<MochaReport> {
  const mocha = createRequire(import.meta.url).resolve('mocha/bin/mocha.js');
  const args = ['--no-config', '--import=tsx', '--timeout=300000', '--reporter=json'];
  const files = [
    'parity',
    'theorems',
    'plans',
    'masks',
    'graphs',
    'whole',
    'decoders',
    'generation',
    'limits',
  ];
  const paths = files.map((name) => join('test/engine', `${name}.test.ts`));
  const output = await outputOf(process.execPath, [mocha, ...args, ...paths], { LIGHT_PEFT_DEVICE: device });
  return JSON.parse(output.slice(output.indexOf('{\n'))) as MochaReport;
}

await runSetUpOrExit();
await orExit(async () => {
  const device = deviceOf(process.argv[2] ?? 'cuda:0');
  const { addon } = upToDateAddon()!;
  const surroundings = await surroundingsOf(projectRoot, device);
  logToStderr(`test:gpu on ${surroundings.gpu}: every op against float64 …`);
  const ops = await checkOps(join(projectRoot, dirname(addon), 'op_check'), device);
  logToStderr(`${ops.comparisons} comparisons, ${ops.wrong.length} wrong; the engine's tests …`);
  const { stats, failures } = await runTests(device);
  const date = new Date().toISOString();
  const file = resultFile(projectRoot, 'test-gpu', date, surroundings.gpu);
  const result = {
    ...{ date, ...surroundings, machine: native().machine(), ops },
    tests: {
      ...stats,
      failures: failures.map(({ fullTitle, err }) => `${fullTitle}: ${err.message?.split('\n')[0] ?? ''}`),
    },
  };
  await makeFolder(dirname(file));
  await writeWhole(file, [`${JSON.stringify(result, null, 2)}\n`]);
  for (const { op, what, dtype, error, bound } of ops.wrong.slice(0, 20))
    console.log(`wrong: ${op}, ${what}, ${dtype}: ${error.toPrecision(3)}, at most ${bound.toPrecision(3)}`);
  for (const failure of result.tests.failures.slice(0, 20)) console.log(`failed: ${failure}`);
  console.log(
    `${ops.comparisons} comparisons, ${ops.wrong.length} wrong; ${stats.passes} tests pass, ${stats.failures} fail; ${file}`,
  );
  if (ops.wrong.length + stats.failures > 0) process.exitCode = 1;
});
