import { spawn } from 'node:child_process';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { randomCheckpoint } from './checkpoint.ts';

/** Bytes that a process holds once a checkpoint is loaded and one text went forward, and what it would need at least. */
export interface Loading {
  weights: number;
  /** Of one layer at a time: what lies between the residual and its next value. */
  activations: number;
  /** Of the process before it loaded anything: Node and LibTorch. */
  before: number;
  peak: number;
  /** peak / (weights + activations) */
  ratio: number;
}

/** Tokens of the text. */
export const TOKENS = 512;

/**
 * A decoder of 1.3 billion parameters in bfloat16, its weights mapped from their file: on kernels that pack none, since
 * packed ones are a copy. Of a GPU's model this is the memory of the host that it passes through.
 */
export async function loadingMemory(root: string, cache: string, device: string): Promise<Loading> {
  const folder = await randomCheckpoint(cache, 'opt-1.3b', 0);
  const { size: weights } = await stat(join(folder, 'model.safetensors'));
  const worker = join(root, 'scripts/bench/loading-worker.ts');
  const child = spawn(process.execPath, ['--import', 'tsx', worker, folder, device], {
    cwd: root,
    env: { ...process.env, LIGHT_PEFT_ISA: 'avx512' },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let text = '';
  for await (const chunk of child.stdout) text += String(chunk);
  const { before, peak } = JSON.parse(text) as { before: number; peak: number };
  // The residual, its norm, query, key, value, context and the units of an FFN, in bfloat16.
  const activations = 2 * TOKENS * (6 * 2048 + 2 * 8192);
  return { weights, activations, before, peak, ratio: peak / (weights + activations) };
}
