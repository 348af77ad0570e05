import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { bagOfWordsAccuracy } from '../demo/bag-of-words.ts';
import { type DemoExample, generateTask } from '../demo/task.ts';
import type { Report } from '../lib/index.ts';
import { runSetUpOrExit } from './setup/index.ts';

await runSetUpOrExit();
const { execFile } = await import('node:child_process');
const json = process.argv.includes('--json');
const root = join(import.meta.dirname, '..');
const out = join(root, 'runs/demo');

/** Each phase is a process of its own: peak memory never falls within one. */
const phase = (name: string, ...flags: string[]): Promise<Report> =>
  new Promise((resolve, reject) => {
    const args = ['--import', 'tsx', join(root, 'scripts/cli.ts'), name, ...flags, '--json'];
    const child = execFile(process.execPath, args, { cwd: root }, (error, stdout) =>
      error ? reject(new Error(`${name} failed`, { cause: error })) : resolve(JSON.parse(stdout) as Report),
    );
    child.stderr?.pipe(process.stderr);
  });

const task = generateTask({ seed: 1, train: 6000, validation: 1000 });
const lines = (examples: DemoExample[]) => examples.map((example) => `${JSON.stringify(example)}\n`).join('');
await mkdir(out, { recursive: true });
const trainFile = join(out, 'train.jsonl');
const validationFile = join(out, 'validation.jsonl');
await writeFile(trainFile, lines(task.train));
await writeFile(validationFile, lines(task.validation));

const common = [
  '--model',
  join(root, 'demo/encoder'),
  '--train-file',
  trainFile,
  '--validation-file',
  validationFile,
];
common.push('--learning-rate', '1e-3', '--seed', '1');
const vanilla = await phase('vanilla-train', ...common, '--epochs', '4', '--out', join(out, 'vanilla'));
const estimated = await phase('estimate', ...common, '--max-steps', '500', '--out', join(out, 'estimate'));
// The task leans on more of this small encoder's modules than the quarter that the default keeps.
const light = await phase(
  'train',
  ...common,
  ...['--epochs', '4', '--module-ratio', '0.5', '--from', join(out, 'estimate'), '--out', join(out, 'light')],
);
const bagOfWords = bagOfWordsAccuracy(task.train, task.validation);
const speedup = {
  train: vanilla.seconds / light.seconds,
  withEstimation: vanilla.seconds / (light.seconds + estimated.seconds),
  inference: light.inferenceTokensPerSecond! / vanilla.inferenceTokensPerSecond!,
};

if (json) console.log(JSON.stringify({ bagOfWords, vanilla, estimate: estimated, light, speedup }));
else {
  const row = (name: string, r: Report): string[] => [
    name,
    (r.metrics['accuracy'] ?? NaN).toFixed(3),
    `${((100 * r.encoderParametersKept) / r.encoderParameters).toFixed(1)} %`,
    String(r.peftParameters),
    r.seconds.toFixed(1),
    String(Math.round(r.tokensPerSecond)),
    String(Math.round(r.peakMemoryBytes / 2 ** 20)),
  ];
  const table = [
    ['', 'accuracy', 'encoder kept', 'PEFT parameters', 'seconds', 'tokens/s', 'peak MiB'],
    row('vanilla LoRA', vanilla),
    row('estimate', estimated),
    row('light', light),
  ];
  const widths = table[0]!.map((_, i) => Math.max(...table.map((cells) => cells[i]!.length)));
  for (const [name, ...cells] of table)
    console.log(
      [name!.padEnd(widths[0]!), ...cells.map((cell, i) => cell.padStart(widths[i + 1]!))].join('  '),
    );
  console.log(`\nlogistic regression on word counts: accuracy ${bagOfWords.toFixed(3)}`);
  console.log(
    `light trains ${speedup.train.toFixed(2)} times as fast as vanilla (${speedup.withEstimation.toFixed(2)} with the estimation counted), infers ${speedup.inference.toFixed(2)} times as fast`,
  );
  console.log(`try it: echo '{"sentence": "…"}' > new.jsonl`);
  console.log('npm run -s predict -- --model demo/encoder --adapter runs/demo/light --input new.jsonl');
}
