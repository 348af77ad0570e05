import { readdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { Command } from 'commander';
import { TASK_NAMES, taskOf } from '../lib/tasks.ts';
import { runSetUpOrExit } from './setup/index.ts';
import { type Cell, METHODS, nameOf, runCell, type StudySettings, type TaskFiles } from './study/cell.ts';
import { CHOICE_FLAGS, writeChoices } from './study/choices.ts';
import { linesOf } from './study/lines.ts';
import { kneeOf, type Row, studyTable } from './study/table.ts';

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
  .option('--sizes <shares>', "of the encoder, to be kept this project's way, by comma", (text: string) =>
    list(text).map(Number),
  )
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
  methods: (typeof METHODS)[number][];
  sizes?: number[];
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

/** What saying the same of every example gives at best; a correlation is 0 then. */
function majorityOf(task: string, file: string): number {
  const { labels, metrics } = taskOf(task);
  const metric = labels.kind === 'tokens' ? 'accuracy' : metrics[0];
  if (labels.kind === 'regression' || (metric !== 'accuracy' && metric !== 'f1')) return 0;
  const counts = new Map<unknown, number>();
  const all = linesOf(file).map((line) => (JSON.parse(line) as { label: unknown }).label);
  for (const label of all) counts.set(label, (counts.get(label) ?? 0) + 1);
  if (metric === 'accuracy') return Math.max(...counts.values()) / all.length;
  const positive = (counts.get(1) ?? counts.get(true) ?? 0) / all.length;
  return (2 * positive) / (1 + positive);
}

/** The files of a task, with instructions as questions to choose answers of. */
async function readable(
  task: string,
  folder: string,
): Promise<Pick<TaskFiles, 'flags' | 'train' | 'validation'>> {
  const files = { train: join(folder, 'train.jsonl'), validation: join(folder, 'validation.jsonl') };
  if (taskOf(task).labels.kind !== 'tokens') return { flags: ['--task', task], ...files };
  const made = {
    train: join(settings.out, task, 'train.jsonl'),
    validation: join(settings.out, task, 'validation.jsonl'),
  };
  for (const part of ['train', 'validation'] as const) await writeChoices(files[part], made[part]);
  return { flags: CHOICE_FLAGS, ...made };
}

/** Long runs for small tasks; a masked run is at most half as long as the run that it is for. */
async function filesOf(task: string): Promise<TaskFiles> {
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
  const files = await readable(task, folder);
  const rows = linesOf(files.train).length;
  const epochs = rows > 50_000 ? 3 : taskOf(task).labels.kind === 'tokens' ? 5 : 10;
  const steps = Math.ceil(rows / 32) * epochs;
  return {
    ...files,
    ...{ epochs, majority: majorityOf(task, files.validation) },
    estimationSteps: Math.min(800, Math.ceil(steps / 2)),
  };
}

const rows: Row[] = [];
for (const task of given.tasks) {
  const files = await filesOf(task);
  for (const seed of given.seeds)
    for (const method of [...given.methods, ...(given.sizes ?? [])]) {
      const cell: Cell = { task, seed, method };
      process.stderr.write(`study: ${task}, seed ${seed}, ${nameOf(method)}\n`);
      rows.push({ ...cell, ...(await runCell(cell, files, settings)) });
    }
}
console.log(studyTable(rows));
if (given.sizes) console.log(`\n${kneeOf(rows)}`);
