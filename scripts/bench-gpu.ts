import { cpus, homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { Command } from 'commander';
import { deviceOf } from '../lib/device.ts';
import { native } from '../lib/native.ts';
import { messageOf } from '../lib/errors.ts';
import { makeFolder } from '../lib/result-folder.ts';
import { writeWhole } from '../lib/whole-file.ts';
import { goalLine, goalsOf } from './bench/goals.ts';
import { resultFile, surroundingsOf } from './bench/gpu.ts';
import { devicePeaks, opTable, type Peaks } from './bench/ops.ts';
import { type Result, table } from './bench/report.ts';
import { runCase } from './bench/run.ts';
import { GPU_SUITES, pickedCases, SUITES } from './bench/suites.ts';
import { orExit, runSetUpOrExit } from './setup/index.ts';

const NAMES = [...GPU_SUITES, 'ops'] as const;
type Name = (typeof NAMES)[number];

const list = (text: string): string[] => text.split(',');
const program = new Command('bench:gpu')
  .description('What a GPU makes of this, beside the goals; exits with 1 where one is missed.')
  .option('--suite <names>', `of ${NAMES.join(', ')}`, list, [...NAMES])
  .option('--case <names>', 'only these cases', list)
  .option('--dropout <p>', 'only cases of this dropout', Number)
  .option('--python <program>', "with torch, transformers and peft, for the suite 'gpu-peers'", 'python3')
  .option('--device <name>', 'cuda:N', 'cuda:0')
  .option('--graphs', 'our steps recorded as CUDA graphs')
  .parse();
const given = program.opts<{
  suite: string[];
  case?: string[];
  dropout?: number;
  python: string;
  device: string;
  graphs?: boolean;
}>();
const isName = (name: string): name is Name => (NAMES as readonly string[]).includes(name);
const unknown = given.suite.find((name) => !isName(name));
if (unknown !== undefined)
  program.error(`bench:gpu: no suite is called ${unknown}; there are ${NAMES.join(', ')}`);
if (given.device === 'cpu') program.error('bench:gpu: `npm run bench` measures the processor');

await runSetUpOrExit();
let device = '';
await orExit(() => {
  device = deviceOf(given.device);
  return Promise.resolve();
});

const root = join(import.meta.dirname, '..');
const say = (line: string) => process.stderr.write(`bench: ${line}\n`);
const cacheHome = process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache');
const settings = {
  root,
  cache: join(cacheHome, 'light-peft/bench'),
  python: given.python,
  threads: 0,
  device,
  graphs: given.graphs ?? false,
  say,
};

const date = new Date().toISOString();
const surroundings = await surroundingsOf(root, device);
const file = resultFile(root, given.graphs ? 'bench-gpu-graphs' : 'bench-gpu', date, surroundings.gpu);
await orExit(() => makeFolder(dirname(file)));

const asked = given.suite
  .filter((name) => name in SUITES)
  .flatMap((suite) =>
    pickedCases(SUITES[suite as keyof typeof SUITES].cases, given).map((of) => ({ suite, of })),
  );
let peaks: Peaks | undefined;
const gemmPeak: Record<string, number> = {};
const results: Result[] = [];
const more: Record<string, unknown> = {};
const failures: string[] = [];
const goals = () => goalsOf(asked, results, surroundings.gpu);

/** Written after each case: what was measured is kept where the time on a GPU ends before the bench does. */
const save = () => {
  const machine = {
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    ...native().machine(),
    node: process.version,
  };
  const report = {
    date,
    ...surroundings,
    graphs: settings.graphs,
    machine,
    peaks,
    gemmPeak,
    results,
    more,
    goals: goals(),
    failures,
  };
  return writeWhole(file, [`${JSON.stringify(report, null, 2)}\n`]);
};

/** A case that fails is named, and the others go on. */
async function attempt(what: string, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    failures.push(`${what}: ${messageOf(error)}`);
    say(failures.at(-1)!);
  }
  await save();
}

await attempt('peaks', async () => {
  peaks = await devicePeaks(root, device);
});
for (const name of given.suite) {
  if (name === 'ops')
    await attempt('ops', async () => {
      more['ops, roberta-large'] = await opTable(root, device, 'roberta-large');
    });
  for (const { suite, of } of asked.filter((one) => one.suite === name))
    await attempt(`${suite} ${of.name}`, async () => {
      const done = await runCase(suite, SUITES[suite as keyof typeof SUITES], of, settings);
      results.push(...done.results);
      gemmPeak[of.name] = done.peak;
    });
}

console.log(table(results));
for (const [name, value] of Object.entries(more)) {
  console.log(`\n${name}`);
  console.table(value);
}
const peak = (value: number | undefined) => (value === undefined ? 'unknown' : (value / 1e12).toFixed(2));
console.log(`\n${surroundings.gpu}: ${peak(peaks?.flops)} TFLOP/s, ${peak(peaks?.bytesPerSecond)} TB/s`);
for (const goal of goals()) console.log(goalLine(goal));
console.log(`written: ${file}`);
if (failures.length > 0 || goals().some(({ met }) => !met)) process.exitCode = 1;
