import { existsSync } from 'node:fs';
import { mkdir, readFile, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Report } from '../../lib/index.ts';
import { writeWhole } from '../../lib/whole-file.ts';
import { runPhase } from '../phase.ts';

export const METHODS = ['vanilla', 'paper', 'ours', 'random'] as const;
export type Method = (typeof METHODS)[number];

export interface Cell {
  task: string;
  seed: number;
  method: Method;
}

export interface CellResult {
  report: Report;
  /** Seconds of the estimation that it rests on. */
  estimationSeconds: number;
}

/** What one cell needs of the task. */
export interface TaskFiles {
  train: string;
  validation: string;
  epochs: number;
  /** The most steps of an estimation. */
  estimationSteps: number;
}

/** Light-PEFT as its paper has it, and how this project would do it. */
const PAPER = ['--estimator', 'l1', '--module-estimator', 'ratio', '--prefix-cache', '0'];
const PAPER_CUT = [
  '--head-ratio',
  '0.333333333',
  '--neuron-ratio',
  '0.333333333',
  '--module-ratio',
  '0.75',
  '--rank-ratio',
  '0.5',
];

export interface StudySettings {
  root: string;
  out: string;
  model: string;
  learningRate: string;
  /** Flags of `estimate` and `train` for the methods `ours` and, with another choice, `random`. */
  ours: { estimate: string[]; train: string[] };
}

/** The report of one phase, from its file where it has run already. */
async function phase(
  settings: StudySettings,
  folder: string,
  name: string,
  command: string,
  flags: string[],
): Promise<Report> {
  const file = join(folder, `${name}.json`);
  const made = [command, ...flags].join(' ');
  if (existsSync(file)) {
    const cell = JSON.parse(await readFile(file, 'utf8')) as { made: string; report: Report };
    if (cell.made !== made) throw new Error(`${file} was made otherwise: ${cell.made}; not: ${made}`);
    return cell.report;
  }
  await mkdir(dirname(file), { recursive: true });
  const resumes = existsSync(join(folder, name, 'training_state.safetensors')) ? ['--resume'] : [];
  const all = [...flags, '--out', join(folder, name), '--save-steps', '500', ...resumes];
  const report = await runPhase(settings.root, command, all);
  await writeWhole(file, [JSON.stringify({ made, report })]);
  return report;
}

/** Runs what a cell lacks. */
export async function runCell(
  { task, seed, method }: Cell,
  { train, validation, epochs, estimationSteps }: TaskFiles,
  settings: StudySettings,
): Promise<CellResult> {
  const folder = join(settings.out, task, String(seed));
  const common = [
    ...['--model', settings.model, '--task', task, '--train-file', train, '--validation-file', validation],
    ...['--learning-rate', settings.learningRate, '--seed', String(seed)],
  ];
  const trained = [...common, '--epochs', String(epochs)];
  if (method === 'vanilla')
    return {
      report: await phase(settings, folder, 'vanilla', 'vanilla-train', trained),
      estimationSeconds: 0,
    };
  const paper = method === 'paper';
  const from = paper ? 'estimate-paper' : 'estimate-ours';
  const estimation = await phase(settings, folder, from, 'estimate', [
    ...[...common, '--max-steps', String(estimationSteps)],
    ...(paper ? PAPER : settings.ours.estimate),
  ]);
  const cut = paper ? [...PAPER, ...PAPER_CUT] : settings.ours.train;
  const random = method === 'random' ? ['--estimator', 'random', '--module-estimator', 'random'] : [];
  const flags = [...trained, '--from', join(folder, from), ...cut, ...random];
  const report = await phase(settings, folder, method, 'train', flags);
  // Adapters of a study are of no further use, and many.
  await rm(join(folder, method), { recursive: true, force: true });
  return { report, estimationSeconds: estimation.seconds };
}
