import { BatchSampler, type EncodedExample, packBatch } from './data/batches.ts';
import type { Session } from './engine.ts';
import { LightPeftError } from './errors.ts';
import type { Settings } from './options.ts';

export interface FitProgress {
  step: number;
  steps: number;
  /** Mean over the steps since the last report. */
  loss: number;
  tokensPerSecond: number;
}

export interface FitResult {
  steps: number;
  seconds: number;
  tokensPerSecond: number;
}

export interface FitOptions {
  settings: Settings;
  steps: number;
  /** Steps from this one on count for the scores. */
  scoreFrom?: number;
  signal?: AbortSignal | undefined;
  onProgress?: ((progress: FitProgress) => void) | undefined;
}

/** Linear warm-up, then linear decay to zero at `steps`, as transformers' schedule of that name. */
const rateAt = (step: number, steps: number, { learningRate, warmupRatio }: Settings): number => {
  const warmup = Math.ceil(warmupRatio * steps);
  return step < warmup
    ? (learningRate * step) / warmup
    : (learningRate * (steps - step)) / Math.max(1, steps - warmup);
};

const stepsPerEpoch = (examples: number, { batchSize, gradientAccumulationSteps }: Settings): number =>
  Math.ceil(Math.ceil(examples / batchSize) / gradientAccumulationSteps);

/** How many optimizer steps a run takes. */
export const stepsOf = (examples: number, settings: Settings): number =>
  settings.maxSteps || Math.max(1, Math.ceil(settings.epochs * stepsPerEpoch(examples, settings)));

/**
 * Trains. The next step is enqueued before the last one has ended, so that the engine never waits for the batches.
 * @throws {LightPeftError} NOT_FINITE (the last good state is kept in the session) or ABORTED
 */
export async function fit(
  session: Session,
  examples: readonly EncodedExample[],
  options: FitOptions,
): Promise<FitResult> {
  const { settings, steps, scoreFrom = Infinity, signal, onProgress } = options;
  const sampler = new BatchSampler(examples.length, settings.batchSize, settings.seed);
  const reportEvery = Math.max(1, Math.min(50, Math.floor(steps / 20)));
  const started = performance.now();
  let last = started;
  let tokens = 0;
  let step = 0;
  let running: Promise<void> = Promise.resolve();

  const report = async () => {
    const metrics = await session.metrics();
    if (metrics.notFinite >= 0)
      throw new LightPeftError(
        'NOT_FINITE',
        `the loss or its gradient is not finite at step ${metrics.notFinite + 1}; a lower --learning-rate may help`,
      );
    const now = performance.now();
    tokens += metrics.tokens;
    onProgress?.({
      step,
      steps,
      loss: metrics.loss / Math.max(1, metrics.steps),
      tokensPerSecond: (metrics.tokens / (now - last)) * 1000,
    });
    last = now;
  };

  try {
    for (let epoch = 0; step < steps; epoch++) {
      let micro: Uint32Array[] = [];
      let taken = 0;
      for (const { indices } of sampler.epoch({ epoch, position: 0 })) {
        micro.push(indices);
        taken += indices.length;
        if (micro.length < settings.gradientAccumulationSteps && taken < examples.length) continue;
        if (signal?.aborted) throw new LightPeftError('ABORTED', `stopped after ${step} of ${steps} steps`);
        const batches = micro.map((chosen) => packBatch([...chosen].map((i) => examples[i]!)));
        micro = [];
        const next = session.step(batches, rateAt(step, steps, settings), step >= scoreFrom);
        next.catch(() => undefined); // awaited below, or lost to the error of the step before it
        await running;
        running = next;
        step += 1;
        if (step % reportEvery === 0 && step < steps) await report();
        if (step === steps) break;
      }
    }
    await running;
    await report();
  } finally {
    await running.catch(() => undefined);
  }
  const seconds = (performance.now() - started) / 1000;
  return { steps: step, seconds, tokensPerSecond: tokens / seconds };
}
