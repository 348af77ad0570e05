import { existsSync } from 'node:fs';
import { mkdir, readFile, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Report } from '../../lib/index.ts';
import { writeWhole } from '../../lib/whole-file.ts';
import { runPhase } from '../phase.ts';
import { commitOf } from '../printed.ts';

/** `equal` is this project's way at the size that the paper's recipe leaves, `random` a seeded choice at this project's. */
export const METHODS = ['vanilla', 'paper', 'ours', 'equal', 'random'] as const;
/** A number: this project's way, keeping that share of the encoder. */
export type Method = (typeof METHODS)[number] | number;

export const nameOf = (method: Method): string =>
  typeof method === 'number' ? `ours, ${Math.round(100 * method)} %` : method;

export interface Cell {
  task: string;
  seed: number;
  method: Method;
}

export interface CellResult {
  report: Report;
  /** Seconds of the estimation that it rests on. */
  estimationSeconds: number;
  majority: number;
}

/** What one cell needs of the task. */
export interface TaskFiles {
  /** How they are read. */
  flags: string[];
  train: string;
  validation: string;
  epochs: number;
  /** The most steps of an estimation. */
  estimationSteps: number;
  /** What the task's first metric gives whoever always says the same. */
  majority: number;
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
  '--adapter-lr',
  '1',
  '--compensate',
  'none',
  '--estimation-share',
  '0',
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
  // What later cells start from may have been taken away.
  const needed = command !== 'estimate' || existsSync(join(folder, name));
  if (existsSync(file) && needed) {
    const cell = JSON.parse(await readFile(file, 'utf8')) as { made: string; report: Report };
    if (cell.made !== made) throw new Error(`${file} was made otherwise: ${cell.made}; not: ${made}`);
    return cell.report;
  }
  await mkdir(dirname(file), { recursive: true });
  const resumes = existsSync(join(folder, name, 'training_state.safetensors')) ? ['--resume'] : [];
  const all = [...flags, '--out', join(folder, name), '--save-steps', '500', ...resumes];
  const report = await runPhase(settings.root, command, all);
  // The same command does something else where a default has changed since.
  await writeWhole(file, [JSON.stringify({ made, commit: await commitOf(settings.root), report })]);
  return report;
}

/** Runs what a cell lacks. */
export async function runCell(cell: Cell, files: TaskFiles, settings: StudySettings): Promise<CellResult> {
  const { task, seed, method } = cell;
  const { flags: reading, train, validation, epochs, estimationSteps, majority } = files;
  const folder = join(settings.out, task, String(seed));
  const common = [
    ...['--model', settings.model, ...reading, '--train-file', train, '--validation-file', validation],
    ...['--learning-rate', settings.learningRate, '--seed', String(seed)],
  ];
  const trained = [...common, '--epochs', String(epochs)];
  if (method === 'vanilla')
    return {
      report: await phase(settings, folder, 'vanilla', 'vanilla-train', trained),
      estimationSeconds: 0,
      majority,
    };
  const paper = method === 'paper';
  const from = paper ? 'estimate-paper' : 'estimate-ours';
  const estimation = await phase(settings, folder, from, 'estimate', [
    ...[...common, '--max-steps', String(estimationSteps)],
    ...(paper ? PAPER : settings.ours.estimate),
  ]);
  const cut = async (): Promise<string[]> => {
    if (paper) return [...PAPER, ...PAPER_CUT];
    if (method === 'random')
      return [...settings.ours.train, '--estimator', 'random', '--module-estimator', 'random'];
    if (typeof method === 'number') return [...settings.ours.train, '--target-parameters', String(method)];
    if (method === 'ours') return settings.ours.train;
    const of = async (other: Method) => (await runCell({ ...cell, method: other }, files, settings)).report;
    const [whole, left] = [await of('vanilla'), await of('paper')];
    const share = (a: number, b: number) => (a / b).toFixed(4);
    return [
      ...['--target-parameters', share(left.encoderParametersKept, left.encoderParameters)],
      ...['--target-peft', share(left.peftParameters, whole.peftParameters)],
    ];
  };
  const flags = [...trained, '--from', join(folder, from), ...(await cut())];
  const name = String(method);
  const report = await phase(settings, folder, name, 'train', flags);
  // Adapters of a study are of no further use, and many.
  await rm(join(folder, name), { recursive: true, force: true });
  return { report, estimationSeconds: estimation.seconds, majority };
}
