import { readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { Command } from 'commander';
import { TASK_NAMES } from '../lib/tasks.ts';
import { runSetUpOrExit } from './setup/index.ts';
import {
  type Cell,
  METHODS,
  type Method,
  runCell,
  type StudySettings,
  type TaskFiles,
} from './study/cell.ts';
import { type Row, studyTable } from './study/table.ts';

const list = (text: string): string[] => text.split(',');
const program = new Command('study')
  .description(
    'Accuracy of vanilla LoRA, the paper, this project and random pruning; finished cells are not run again.',
  )
  .requiredOption('--model <folder>', 'the encoder')
  .requiredOption(
    '--data <folder>',
    'with a folder of train.jsonl and validation.jsonl for each task, at any depth of two',
  )
  .option('--tasks <names>', 'by comma', list, ['sst2', 'cola', 'mrpc', 'stsb', 'wic', 'boolq'])
  .option('--seeds <numbers>', 'by comma', (text: string) => list(text).map(Number), [1, 2, 3])
  .option('--methods <names>', `of ${METHODS.join(', ')}`, list, [...METHODS])
  .option('--out <folder>', 'where cells are kept', 'runs/study')
  .option('--learning-rate <x>', 'of every run', '1e-3')
  .option('--ours-estimate <flags>', 'of estimate, for this project', '--early-stop')
  .option('--ours-train <flags>', 'of train, for this project', '')
  .parse();
const given = program.opts<{
  model: string;
  data: string;
  tasks: string[];
  seeds: number[];
  methods: Method[];
  out: string;
  learningRate: string;
  oursEstimate: string;
  oursTrain: string;
}>();
for (const task of given.tasks)
  if (!TASK_NAMES.includes(task)) program.error(`study: no task is called ${task}`);
for (const method of given.methods)
  if (!METHODS.includes(method)) program.error(`study: no method is called ${method}`);

await runSetUpOrExit();
const words = (text: string) => text.split(' ').filter(Boolean);
const settings: StudySettings = {
  root: join(import.meta.dirname, '..'),
  out: resolve(given.out),
  model: resolve(given.model),
  learningRate: given.learningRate,
  ours: { estimate: words(given.oursEstimate), train: words(given.oursTrain) },
};

const rowsOf = (file: string) =>
  readFileSync(file, 'utf8')
    .split('\n')
    .filter((line) => line.trim() !== '').length;

/** Long runs for small tasks; a masked run is at most half as long as the run that it is for. */
function filesOf(task: string): TaskFiles {
  const folder = readdirSync(given.data)
    .map((group) => join(resolve(given.data), group, task))
    .find((path) => {
      try {
        return readdirSync(path).includes('train.jsonl');
      } catch {
        return false;
      }
    });
  if (folder === undefined) return program.error(`study: ${given.data} has no ${task}`);
  const train = join(folder, 'train.jsonl');
  const rows = rowsOf(train);
  const epochs = rows > 50_000 ? 3 : 10;
  const steps = Math.ceil(rows / 32) * epochs;
  return {
    ...{ train, validation: join(folder, 'validation.jsonl'), epochs },
    estimationSteps: Math.min(800, Math.ceil(steps / 2)),
  };
}

const rows: Row[] = [];
for (const task of given.tasks) {
  const files = filesOf(task);
  for (const seed of given.seeds)
    for (const method of given.methods) {
      const cell: Cell = { task, seed, method };
      process.stderr.write(`study: ${task}, seed ${seed}, ${method}\n`);
      rows.push({ ...cell, ...(await runCell(cell, files, settings)) });
    }
}
console.log(studyTable(rows));
