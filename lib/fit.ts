import {
  BatchSampler,
  type EncodedExample,
  packBatch,
  type PackedBatch,
  type SamplerState,
} from './data/batches.ts';
import type { Session } from './engine.ts';
import { LightPeftError } from './errors.ts';
import type { Settings } from './options.ts';

export interface FitProgress {
  step: number;
  steps: number;
  /** Mean over the steps since the last report. */
  loss: number;
  tokensPerSecond: number;
  /** How often all micro-batches were halved, as memory was short. */
  halvings: number;
}

/** How far a run has come. */
export interface Position extends SamplerState {
  step: number;
  tokens: number;
  seconds: number;
  /** Of what may end it early. */
  early?: unknown;
}

/** What may end a run before its last step. */
export interface EarlyEnd {
  /** Steps between two looks. */
  window: number;
  /** Plain data: what a resumed run must know of the looks so far. */
  state: unknown;
  /** Whether what was seen ends the run, which has taken one more step by then. */
  readonly over: boolean;
  /** Asks the session at once for what it looks at, and thinks about that while the next step is taken. */
  look(step: number): Promise<void>;
  /** Told where the run has come to its end without it. */
  missed(): void;
}

export interface FitOptions {
  settings: Settings;
  steps: number;
  /** Steps from this one on count for the scores. */
  scoreFrom?: number | undefined;
  /** From this one on what is below the topmost layer with modules rests. */
  restFrom?: number | undefined;
  early?: EarlyEnd | undefined;
  /** Steps that count as taken before the first: the batches that follow theirs come first. */
  behind?: number | undefined;
  /** Where an interrupted run stood; the session is in that state already. */
  from?: Position | undefined;
  /** Called every `saveSteps` steps and when the signal fires; the session's state is that of the position. */
  save?: ((position: Position) => Promise<void>) | undefined;
  /** Makes a micro-batch of a step; by default the examples as they are. */
  pack?: ((examples: EncodedExample[], step: number, micro: number) => PackedBatch) | undefined;
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

/** Where so many steps from the beginning lead. */
function after(steps: number, examples: number, settings: Settings): SamplerState {
  const { batchSize, gradientAccumulationSteps } = settings;
  const each = stepsPerEpoch(examples, settings);
  return {
    epoch: Math.floor(steps / each),
    position: (steps % each) * batchSize * gradientAccumulationSteps,
  };
}

/** The micro-batches of each optimizer step, without end; the last step of an epoch may have fewer of them. */
function* microBatches(
  sampler: BatchSampler,
  accumulation: number,
  from: SamplerState,
): Generator<{ micro: Uint32Array[]; next: SamplerState }> {
  for (let { epoch, position } = from; ; epoch++, position = 0) {
    let micro: Uint32Array[] = [];
    for (const { indices, next } of sampler.epoch({ epoch, position })) {
      micro.push(indices);
      if (micro.length < accumulation && next.epoch === epoch) continue;
      yield { micro, next };
      micro = [];
    }
  }
}

/**
 * Trains. A step is enqueued before the last one has ended, so that the engine never waits for the batches.
 * @throws {LightPeftError} NOT_FINITE (the last good state is kept in the session) or ABORTED
 */
export async function fit(
  session: Session,
  examples: readonly EncodedExample[],
  options: FitOptions,
): Promise<Position> {
  const {
    settings,
    steps,
    scoreFrom = Infinity,
    restFrom = Infinity,
    early,
    behind = 0,
    save,
    pack = packBatch,
    signal,
    onProgress,
  } = options;
  if (early && options.from?.early !== undefined) early.state = options.from.early;
  const sampler = new BatchSampler(examples.length, settings.batchSize, settings.seed);
  const reportEvery = Math.max(1, Math.min(50, Math.floor(steps / 20)));
  const from = options.from ?? {
    ...after(behind, examples.length, settings),
    ...{ step: 0, tokens: 0, seconds: 0 },
  };
  const at: Position = { ...from };
  const started = performance.now();
  let last = started;
  let looking: Promise<void> | undefined;

  const report = async (ends = false) => {
    const metrics = await session.metrics();
    if (metrics.notFinite >= 0)
      throw new LightPeftError(
        'NOT_FINITE',
        `the loss or its gradient is not finite at step ${metrics.notFinite + 1}; a lower --learning-rate may help`,
      );
    const now = performance.now();
    at.tokens += metrics.tokens;
    at.seconds = from.seconds + (now - started) / 1000;
    if (metrics.steps === 0) return;
    const tokensPerSecond = (metrics.tokens / (now - last)) * 1000;
    onProgress?.({
      step: at.step,
      steps: ends ? at.step : steps,
      loss: metrics.loss / metrics.steps,
      tokensPerSecond,
      halvings: metrics.halvings,
    });
    last = now;
  };

  for (const { micro, next } of microBatches(sampler, settings.gradientAccumulationSteps, from)) {
    if (at.step >= steps) break;
    if (signal?.aborted) {
      await looking;
      if (early) at.early = early.state;
      await report();
      await save?.(at);
      throw new LightPeftError('ABORTED', `stopped after ${at.step} of ${steps} steps`);
    }
    const batches = micro.map((chosen, m) =>
      pack(
        [...chosen].map((i) => examples[i]!),
        at.step,
        m,
      ),
    );
    await session.step(batches, rateAt(at.step, steps, settings), {
      score: at.step >= scoreFrom,
      rests: at.step >= restFrom,
    });
    Object.assign(at, next, { step: at.step + 1 });
    await looking;
    const ends = early?.over ?? false;
    looking = early && !ends && at.step % early.window === 0 ? early.look(at.step) : undefined;
    looking?.catch(() => {}); // it is told where it is waited for
    const saves = settings.saveSteps > 0 && at.step % settings.saveSteps === 0 && at.step < steps;
    if (saves || at.step === steps) await looking;
    if (early) at.early = early.state;
    if (saves || ends || at.step % reportEvery === 0 || at.step === steps) await report(ends);
    if (ends) break;
    if (saves) await save?.(at);
  }
  if (early?.over === false) early.missed();
  return at;
}
