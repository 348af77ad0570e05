import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { basename, dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Site, Spec } from './checkpoint/spec.ts';
import type { PackedBatch } from './data/batches.ts';
import { type ErrorCode, LightPeftError, messageOf } from './errors.ts';

/** The boundary: what the addon takes and gives. Its own handles; lib/engine.ts wraps them. */
export type ComputeDtype = 'float32' | 'bfloat16';

export interface WeightRef {
  site: string;
  dtype: string;
  shape: number[];
  file: string;
  offset: number;
  bytes: number;
  /** Whether the file has [inputs, outputs]. */
  transposed: boolean;
}

export interface ModuleConfig {
  /** As Python's PEFT names the module: roberta.encoder.layer.0.attention.self.query, say. */
  name: string;
  layer: number;
  site: Site;
  rank: number;
  /** alpha / r of the uncut module. */
  scale: number;
  dropout: number;
  /** Multiplier of the learning rate; 1 if there is none. */
  rate?: number;
}

/** What a head is made of. */
export interface HeadConfig {
  outputs: number;
  /** Dense, activation and dropout before the projection. */
  dense: boolean;
  bias: boolean;
  dropoutFirst: boolean;
  /** Whether the dense is a part of the base, and keeps the values that it is given. */
  frozen: boolean;
  activation: 'tanh' | 'gelu' | 'relu';
  dropout: number;
}

export interface SessionConfig {
  modules: ModuleConfig[];
  /** Whether the model itself is trained, and not only what sits beside it. */
  full: boolean;
  /** Labels of texts, tags of tokens, spans of texts, by the head; or tokens, for which there is none. */
  told: 'labels' | 'tags' | 'spans' | 'tokens';
  head: HeadConfig;
  /** Whether a label is a value. */
  regression: boolean;
  /** Sequences of an example, of which the label says one; 1: the head's outputs are classes, or a value. */
  choices: number;
  /** Whether head and neuron masks are learned. */
  masks: boolean;
  /** Whether scored steps measure modules by |branch| / |base|, for which the last layer computes all tokens. */
  ratios: boolean;
  /** Multipliers of the learning rate. */
  headMaskRate: number;
  neuronMaskRate: number;
  l1Heads: number;
  l1Neurons: number;
  /**
   * Memory for what the layers below the lowest trained one make of each text; 0: they are computed every time, with
   * dropout. Past it a file in the folder is used; '': nothing is kept past it.
   */
  prefixCacheBytes: number;
  prefixCacheFolder: string;
  adamBeta2: number;
  weightDecay: number;
  /** 0: no clipping. */
  maxGradNorm: number;
  /** That the optimizer's moments have behind them, where they are set to those of another run. */
  optimizerSteps: number;
  /** How much a teacher's logits count beside the labels, their temperature, and how much what its head reads does. */
  distill: number;
  distillTemperature: number;
  distillStates: number;
  /** Whether a step whose memory is not to be had is done in halves of its micro-batches. */
  smallerBatches: boolean;
  /** On a device, whether steps of a kind that comes again are recorded and run as a whole. */
  graphs: boolean;
  seed: number;
}

/** Two classes over a whole base, nothing beside the head to be trained, and no extras. */
export const PLAIN_SESSION: SessionConfig = {
  modules: [],
  full: false,
  told: 'labels',
  head: {
    ...{ outputs: 2, dense: true, bias: true, dropoutFirst: true, frozen: false, activation: 'tanh' },
    dropout: 0,
  },
  regression: false,
  choices: 1,
  masks: false,
  ratios: false,
  headMaskRate: 0,
  neuronMaskRate: 0,
  l1Heads: 0,
  l1Neurons: 0,
  prefixCacheBytes: 0,
  prefixCacheFolder: '',
  adamBeta2: 0.999,
  weightDecay: 0,
  maxGradNorm: 0,
  optimizerSteps: 0,
  distill: 0,
  distillTemperature: 1,
  distillStates: 0,
  smallerBatches: false,
  graphs: false,
  seed: 1,
};

/** Of a parameter: itself, its gradient in the last step, and what AdamW remembers of the gradients. */
export type Part = 'value' | 'gradient' | 'moment1' | 'moment2';

export interface NamedTensor {
  name: string;
  shape: number[];
  data: Float32Array;
}

export interface StepMetrics {
  /** Optimizer steps since the last read, and the sum of their mean losses. */
  steps: number;
  loss: number;
  tokens: number;
  /** Steps that ran again from a recording (CUDA graphs). */
  recorded: number;
  /** Of the last step, before clipping. */
  gradNorm: number;
  /** Kept from the forward to the backward pass, of the largest micro-batch that was launched since the last read; recordings do not say. */
  activationBytes: number;
  /** The first step whose loss or gradient was not finite; -1: none. Nothing changed from it on. */
  notFinite: number;
  /** How often all micro-batches were halved, as memory was short. */
  halvings: number;
}

export const MEASURES = [
  ...(['headTaylor', 'neuronTaylor', 'headSalience', 'neuronSalience'] as const),
  ...(['contextMean', 'contextSquare', 'neuronMean', 'neuronSquare'] as const),
  ...(['ratios', 'ranks', 'rankTaylor'] as const),
] as const;

export interface RawScores {
  steps: number;
  /** The masks as they are now. */
  heads: Float32Array[];
  neurons: Float32Array[];
  measures: Measures;
}

/** What scored steps measured, by layer or by module: native/train/importance.h says what each is. */
export type Measures = Record<(typeof MEASURES)[number], Float32Array[]>;

/** Euclidean norms of weights by layer: columns of attention output and FFN output, whole heads, whole neurons. */
export type WeightNorms = Record<'context' | 'neuronOut' | 'heads' | 'neurons', Float32Array[]>;

export interface SessionState {
  stepsDone: number;
  tensors: Record<string, Uint8Array>;
}

/** b a, which is added to a weight: row-major [hidden, rank] and [rank, inputs]. */
export interface Correction {
  rank: number;
  a: Float32Array;
  b: Float32Array;
}

/**
 * What a layer of a smaller model gains: nothing where nothing is lost, a shift alone where nothing is left to tell it
 * by.
 */
export type LayerReconstruction = Record<
  'attention' | 'output',
  { shift?: Float32Array; correction?: Correction }
>;

/** What stays of a layer, and what becomes of it. */
export interface LayerCut {
  heads: number[];
  neurons: number[];
  /** Of those kept; folded into the weights that read them. */
  headScale?: Float32Array | undefined;
  neuronScale?: Float32Array | undefined;
  /** Added to the biases of the attention's and the layer's output. */
  attentionShift?: Float32Array | undefined;
  outputShift?: Float32Array | undefined;
  /** Of the weights that end these halves, once scaled. */
  attentionCorrection?: Correction | undefined;
  outputCorrection?: Correction | undefined;
}

export interface NativeModel {
  /** @param device cpu or cuda:N; whether TF32 may be used there is one setting for all models */
  load(spec: Spec, weights: WeightRef[], dtype: ComputeDtype, device: string, tf32: boolean): Promise<void>;
  cut(from: NativeModel, layers: LayerCut[]): Promise<void>;
  norms(): Promise<WeightNorms>;
  shifts(
    layers: LayerCut[],
    contextMeans: Float32Array[],
    neuronMeans: Float32Array[],
  ): Promise<Record<'attention' | 'output', Float32Array[]>>;
  dispose(): void;
}

export interface NativeEvaluation {
  /** [examples, labels or choices]; of tokens whether they are right [T]: 1, 0, or NaN where one does not count */
  logits: Float32Array;
  /** What the head reads, [B, h], where it was asked for. */
  states?: Float32Array;
  loss: number;
  labelled: number;
}

export interface NativeSession {
  step(batches: PackedBatch[], learningRate: number, score: boolean, rests: boolean): Promise<void>;
  evaluate(batch: PackedBatch, states: boolean): Promise<NativeEvaluation>;
  /** Logits of the token after each of a batch's, [T, vocab]. */
  logits(batch: PackedBatch): Promise<Float32Array>;
  /** Begins to generate so many sequences, forgetting others. */
  begin(sequences: number): Promise<void>;
  /** Goes on with more tokens of each: logits of what comes after the last of them, [B, vocab]. */
  next(batch: PackedBatch): Promise<Float32Array>;
  /** Sequence b becomes what sequence from[b] is. */
  choose(from: number[]): Promise<void>;
  metrics(): Promise<StepMetrics>;
  scores(): Promise<RawScores>;
  tensors(part: Part): Promise<NamedTensor[]>;
  setTensors(tensors: Pick<NamedTensor, 'name' | 'data'>[], part: Part): Promise<void>;
  threads(): Promise<number>;
  state(): Promise<SessionState>;
  setState(state: SessionState): Promise<void>;
  /** What a session over a cut of this one's model has lost (native/train/reconstruction.h); nothing of it is changed. */
  reconstruct(small: NativeSession, batches: PackedBatch[], rank: number): Promise<LayerReconstruction[]>;
  dispose(): void;
}

export interface Machine {
  isa: 'avx2' | 'avx512' | 'avx512_bf16' | 'amx';
  bf16: boolean;
  threads: number;
  /** CUDA devices that the build can use; 0 in one for the CPU. */
  cuda: number;
}

export interface Native {
  Model: new (threads: number) => NativeModel;
  Session: new (model: NativeModel, config: SessionConfig, threads: number) => NativeSession;
  machine(): Machine;
  /** The most bytes that tensors have had at once on the CUDA device of this number. */
  deviceMemoryPeak(index: number): number;
}

/** The package's folder: that of package.json, above lib/ and dist/lib/ alike. */
function packageRoot(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, 'package.json'))) folder = dirname(folder);
  return folder;
}

let loaded: Native | undefined;

/**
 * The addon, loaded on first use.
 * @throws {LightPeftError} NATIVE_MISSING
 */
export function native(): Native {
  if (loaded) return loaded;
  const root = packageRoot();
  try {
    const { addon } = JSON.parse(readFileSync(join(root, 'build/current.json'), 'utf8')) as { addon: string };
    // Tests name another one, which lies beside it.
    const file = join(dirname(resolve(root, addon)), process.env['LIGHT_PEFT_ADDON'] || basename(addon));
    loaded = createRequire(import.meta.url)(file) as Native;
  } catch (error) {
    throw new LightPeftError(
      'NATIVE_MISSING',
      `the native addon is not built or does not load; run \`npm run setup\` (${messageOf(error)})`,
      { cause: error },
    );
  }
  return loaded;
}

/** Gives what the addon throws its type; anything else passes. */
export async function coded<T>(work: () => T | Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw typed(error);
  }
}

export function typed(error: unknown): unknown {
  if (error instanceof LightPeftError || !(error instanceof Error) || !('code' in error)) return error;
  return new LightPeftError(error.code as ErrorCode, error.message, { cause: error });
}
