import { spawn } from 'node:child_process';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { deviceOf } from '../lib/device.ts';
import { native } from '../lib/native.ts';
import { makeFolder } from '../lib/result-folder.ts';
import { writeWhole } from '../lib/whole-file.ts';
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

/** A program's standard output, and how it ended where that was not well; what it says besides goes on to the terminal. */
const outputOf = (
  program: string,
  args: string[],
  env: NodeJS.ProcessEnv = {},
): Promise<{ output: string; fault?: string }> =>
  new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      cwd: projectRoot,
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', 'inherit'],
      timeout: PROGRAM_MS,
    });
    let output = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text));
    child.on('error', reject).on('close', (status, signal) => {
      resolve({ output, ...(status !== 0 && { fault: signal ?? `status ${status}` }) });
    });
  });

/** What takes longer hangs. */
const PROGRAM_MS = 300_000;
const TEST_MS = 60_000;

/** Fewer are not all. */
const LEAST_COMPARISONS = 2600;

/** Every op beside float64, both on the device: what is too far off, and the worst of each kind as a share of its bound. */
async function checkOps(program: string, device: string) {
  const { output, fault } = await outputOf(program, ['--device', device]);
  // The last line need not be whole where the check broke off.
  const lines = output.split('\n').slice(0, -1);
  const all = lines.map((line) => JSON.parse(line) as Comparison);
  const worst: Record<string, number> = {};
  for (const { op, dtype, error, bound } of all) {
    const kind = `${op.split(' ')[0]} ${dtype}`;
    worst[kind] = Math.max(worst[kind] ?? 0, bound > 0 ? error / bound : Number(error > 0));
  }
  const few = all.length < LEAST_COMPARISONS ? `${all.length} comparisons alone` : undefined;
  const wrong = all.filter(({ error, bound }) => !(error <= bound));
  return { comparisons: all.length, wrong, worst, fault: fault ?? few };
}

/** The engine's tests and those of whole runs. */
const FILES = ['parity', 'theorems', 'plans', 'masks', 'graphs', 'whole', 'decoders', 'generation', 'limits'];

/** Those of a file, every model of theirs on the device, in a process of its own: a device that failed fails on. */
async function runTests(name: string, device: string) {
  const mocha = createRequire(import.meta.url).resolve('mocha/bin/mocha.js');
  const args = ['--no-config', '--import=tsx', `--timeout=${TEST_MS}`, '--reporter=json'];
  const file = join('test/engine', `${name}.test.ts`);
  const env = { LIGHT_PEFT_DEVICE: device };
  const { output, fault } = await outputOf(process.execPath, [mocha, ...args, file], env);
  try {
    const { stats, failures } = JSON.parse(output.slice(output.indexOf('{\n'))) as MochaReport;
    const told = failures.map(({ fullTitle, err }) => `${fullTitle}: ${err.message?.split('\n')[0] ?? ''}`);
    // mocha's status is the number of failures.
    const ended = fault === undefined || fault === `status ${stats.failures}`;
    if (ended && stats.passes > 0) return { ...stats, told };
    return {
      ...stats,
      failures: stats.failures + 1,
      told: [...told, `${name}: ${fault ?? 'no test passed'}`],
    };
  } catch {
    return {
      passes: 0,
      failures: 1,
      pending: 0,
      duration: 0,
      told: [`${name}: no report (${fault ?? 'none'})`],
    };
  }
}

await runSetUpOrExit();
await orExit(async () => {
  const device = deviceOf(process.argv[2] ?? 'cuda:0');
  const { addon } = upToDateAddon()!;
  const surroundings = await surroundingsOf(projectRoot, device);
  const date = new Date().toISOString();
  const file = resultFile(projectRoot, 'test-gpu', date, surroundings.gpu);
  await makeFolder(dirname(file));
  const tests: Record<string, Awaited<ReturnType<typeof runTests>>> = {};
  logToStderr(`test:gpu on ${surroundings.gpu}: every op against float64 …`);
  const ops = await checkOps(join(projectRoot, dirname(addon), 'op_check'), device);
  /** After each part: what was found is kept where the time on a GPU ends before the tests do. */
  const save = () => {
    const result = { date, ...surroundings, machine: native().machine(), ops, tests };
    return writeWhole(file, [`${JSON.stringify(result, null, 2)}\n`]);
  };
  await save();
  logToStderr(`${ops.comparisons} comparisons, ${ops.wrong.length} wrong; the engine's tests …`);
  const waiting = [...FILES];
  const work = async () => {
    for (let name = waiting.shift(); name !== undefined; name = waiting.shift()) {
      const found = await runTests(name, device);
      tests[name] = found;
      logToStderr(`${name}: ${found.passes} pass, ${found.failures} fail`);
      await save();
    }
  };
  // Their models are small: a device serves several processes, each of which waits for it most of the time.
  await Promise.all(Array.from({ length: Math.ceil(availableParallelism() / 2) }, work));
  // Savings of several at once may have come in another order.
  await save();

  if (ops.fault !== undefined) console.log(`the check of operations broke off: ${ops.fault}`);
  for (const { op, what, dtype, error, bound } of ops.wrong.slice(0, 20))
    console.log(`wrong: ${op}, ${what}, ${dtype}: ${error.toPrecision(3)}, at most ${bound.toPrecision(3)}`);
  const all = Object.values(tests);
  for (const failure of all.flatMap(({ told }) => told).slice(0, 20)) console.log(`failed: ${failure}`);
  const sum = (count: 'passes' | 'failures') => all.reduce((total, one) => total + one[count], 0);
  const failures = sum('failures');
  console.log(
    `${ops.comparisons} comparisons, ${ops.wrong.length} wrong; ${sum('passes')} tests pass, ${failures} fail; ${file}`,
  );
  if (ops.fault !== undefined || ops.wrong.length + failures > 0) process.exitCode = 1;
});
