import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { bagOfWordsAccuracy } from '../../demo/bag-of-words.ts';
import { type DemoExample, generateTask } from '../../demo/task.ts';
import type { Report } from '../../lib/index.ts';
import { runPhase } from '../phase.ts';

export interface EndToEnd {
  bagOfWords: number;
  vanilla: Report;
  estimate: Report;
  light: Report;
  /** How many times as fast as vanilla's the light model's training is, without and with the estimation, and its inference. */
  speedup: { train: number; withEstimation: number; inference: number };
}

/** The demo's task, four epochs: with LoRA on the whole encoder, and estimated, cut, and trained; files in `out`. */
export async function endToEnd(root: string, out: string, device = 'cpu'): Promise<EndToEnd> {
  const task = generateTask({ seed: 1, train: 6000, validation: 1000 });
  const lines = (examples: DemoExample[]) =>
    examples.map((example) => `${JSON.stringify(example)}\n`).join('');
  await mkdir(out, { recursive: true });
  const trainFile = join(out, 'train.jsonl');
  const validationFile = join(out, 'validation.jsonl');
  await writeFile(trainFile, lines(task.train));
  await writeFile(validationFile, lines(task.validation));
  const run = (name: string, folder: string, ...flags: string[]) =>
    runPhase(root, name, [
      ...['--model', join(root, 'demo/encoder'), '--learning-rate', '1e-3', '--seed', '1'],
      ...['--train-file', trainFile, '--validation-file', validationFile],
      ...['--out', join(out, folder), '--device', device, ...flags],
    ]);
  const vanilla = await run('vanilla-train', 'vanilla', '--epochs', '4');
  const estimate = await run('estimate', 'estimate', '--early-stop');
  const from = ['--from', join(out, 'estimate')];
  const light = await run('train', 'light', '--epochs', '4', ...from);
  return {
    bagOfWords: bagOfWordsAccuracy(task.train, task.validation),
    ...{ vanilla, estimate, light },
    speedup: {
      train: vanilla.seconds / light.seconds,
      withEstimation: vanilla.seconds / (light.seconds + estimate.seconds),
      inference: light.inferenceTokensPerSecond! / vanilla.inferenceTokensPerSecond!,
    },
  };
}
