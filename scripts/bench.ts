import { readFileSync } from 'node:fs';
import { cpus, homedir } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import { orExit, runSetUpOrExit } from './setup/index.ts';
import { boundaryTimes, dataTimes } from './bench/javascript.ts';
import { endToEnd } from './bench/end-to-end.ts';
import { loadingMemory } from './bench/loading.ts';
import { opTable } from './bench/ops.ts';
import { growthPlot } from './bench/plot.ts';
import { type BenchReport, regressions, type Result, table } from './bench/report.ts';
import { deviceOf } from '../lib/device.ts';
import type { Report } from '../lib/index.ts';
import { writeWhole } from '../lib/whole-file.ts';
import { runCase } from './bench/run.ts';
import { pickedCases, SUITES } from './bench/suites.ts';

const OTHERS = ['end-to-end', 'ops', 'data', 'boundary', 'loading'];
const NAMES = [...Object.keys(SUITES), ...OTHERS];

const list = (text: string): string[] => text.split(',');
const program = new Command('bench')
  .option('--suite <names>', `of ${NAMES.join(', ')}`, list, ['step'])
  .option('--case <names>', 'only these cases', list)
  .option('--dropout <p>', 'only cases of this dropout', Number)
  .option('--json', 'one JSON object on standard output')
  .option('--against <file>', "an earlier run's JSON; exits with 1 where this one is slower beyond the noise")
  .option('--plot <file>', "of the suite 'growth': its plots, as SVG")
  .option('--python <program>', "with torch, transformers and peft, for the suite 'peers'", 'python3')
  .option('--threads <n>', '0: one for each core', Number, 0)
  .option('--device <name>', 'cpu or cuda:N, where contenders and ops compute', 'cpu')
  .parse();
const given = program.opts<{
  suite: string[];
  case?: string[];
  dropout?: number;
  json?: boolean;
  against?: string;
  plot?: string;
  python: string;
  threads: number;
  device: string;
}>();
const unknown = given.suite.find((name) => !NAMES.includes(name));
if (unknown !== undefined)
  program.error(`bench: no suite is called ${unknown}; there are ${NAMES.join(', ')}`);

if (given.plot !== undefined && !given.suite.includes('growth'))
  program.error("bench: --plot draws what the suite 'growth' measures");

await runSetUpOrExit();
let device = '';
await orExit(() => {
  device = deviceOf(given.device);
  return Promise.resolve();
});
const { native } = await import('../lib/native.ts');
const root = join(import.meta.dirname, '..');
const say = (line: string) => process.stderr.write(`bench: ${line}\n`);
const cacheHome = process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache');
const settings = {
  root,
  cache: join(cacheHome, 'light-peft/bench'),
  python: given.python,
  threads: given.threads,
  device,
  graphs: false,
  say,
};

const peaks = new Map<string, number>();
const results: Result[] = [];
const more: Record<string, unknown> = {};
for (const name of given.suite) {
  if (name === 'ops') {
    for (const shape of ['roberta-base', 'roberta-large'] as const)
      if (!given.case || given.case.includes(shape))
        more[`ops, ${shape}`] = await opTable(root, device, shape);
  } else if (name === 'end-to-end') {
    const { vanilla, estimate, light, speedup } = await endToEnd(root, join(root, 'runs/bench'), device);
    const row = (phase: string, { seconds, tokensPerSecond, metrics }: Report) => ({
      ...{ phase, seconds, tokensPerSecond, accuracy: metrics['accuracy'] },
    });
    more['end-to-end'] = [row('vanilla', vanilla), row('estimate', estimate), row('light', light)];
    more['end-to-end: times as fast'] = [speedup];
  } else if (name === 'data') more['data'] = await dataTimes(root);
  else if (name === 'boundary') more['boundary'] = await boundaryTimes(root, device);
  else if (name === 'loading') more['loading, bytes'] = [await loadingMemory(root, settings.cache, device)];
  else {
    const suite = SUITES[name as keyof typeof SUITES];
    for (const of of pickedCases(suite.cases, given)) {
      const done = await runCase(name, suite, of, settings);
      results.push(...done.results);
      peaks.set(of.name, done.peak);
    }
  }
}

const report: BenchReport = {
  machine: {
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    ...native().machine(),
    node: process.version,
  },
  gemmPeak: Object.fromEntries(peaks),
  results,
  more,
};
if (given.json) console.log(JSON.stringify(report));
else {
  console.log(table(results));
  for (const [name, peak] of peaks)
    console.log(
      `best bf16 product${device === 'cpu' ? ' at the sizes' : ', beside the rounds'} of ${name}: ${peak.toFixed(0)} GFLOP/s`,
    );
  for (const [name, value] of Object.entries(more)) {
    console.log(`\n${name}`);
    console.table(value);
  }
}
if (given.plot !== undefined) await writeWhole(given.plot, [growthPlot(results)]);
if (given.against !== undefined) {
  const before = JSON.parse(readFileSync(given.against, 'utf8')) as BenchReport;
  const slower = regressions(results, before.results);
  for (const line of slower) say(line);
  if (slower.length > 0) process.exitCode = 1;
}
