import { usualDevice } from './device.ts';
import { z } from 'zod';
import { MIN_NEURONS } from './plan/plan.ts';
import { LightPeftError } from './errors.ts';
import type { MetricName } from './metrics.ts';
import { ESTIMATOR_NAMES, MODULE_ESTIMATORS } from './plan/estimators.ts';
import { worded } from './wording.ts';

const ratio = z.number().min(0).lt(1);
const count = z.int().min(1);
/** Of LoRA. */
export const RANK = count.max(4096);

/** Every option of every phase, its default and its check. Names are those of the flags, in camel case. */
const SCHEMA = z.strictObject({
  /** Folder of a Hugging Face checkpoint. */
  model: z.string(),
  /** A named task sets columns, class names and metrics. */
  task: z.string().optional(),
  trainFile: z.string().optional(),
  validationFile: z.string().optional(),
  input: z.string().optional(),
  /** To be continued by a decoder. */
  prompt: z.array(z.string()).min(1).optional(),
  maxNewTokens: count.max(1_000_000).default(64),
  /** Whether tokens are drawn; else the likeliest are taken. */
  sample: z.boolean().default(false),
  temperature: z.number().positive().default(1),
  /** 0: all tokens may be drawn. */
  topK: z.int().min(0).default(50),
  topP: z.number().gt(0).max(1).default(1),
  beams: count.max(1024).default(1),
  lengthPenalty: z.number().default(1),
  textColumns: z.array(z.string()).min(1).max(2).optional(),
  labelColumn: z.string().optional(),
  /** Of texts whose tokens are to be told after those of the text column, or alone. */
  completionColumn: z.string().optional(),
  /** Columns of texts of which the label says one, by its place from 0; each is paired with the text column. */
  choiceColumns: z.array(z.string()).min(2).optional(),
  /** Of lists of tags, one for each word of the text column's lists. */
  tagColumn: z.string().optional(),
  /** Of answers to the first text column's questions, which are spans of the second's texts. */
  answerColumn: z.string().optional(),
  /** Tokens that two windows over a text share that is too long for one. */
  docStride: z.int().min(0).optional(),
  labelNames: z
    .array(z.string().min(1))
    .min(2)
    .refine((names) => new Set(names).size === names.length, 'two names are the same')
    .optional(),
  metric: z
    .enum([
      'accuracy',
      'f1',
      'macro_f1',
      'matthews_correlation',
      'pearson',
      'spearmanr',
      'precision',
      'recall',
      'exact_match',
      'perplexity',
    ] satisfies MetricName[])
    .optional(),
  /** What is trained beside the head: LoRA, or, with none, the model itself. */
  peft: z.enum(['lora', 'none']).default('lora'),
  loraR: RANK.default(8),
  loraAlpha: z.number().positive().default(16),
  loraDropout: ratio.default(0.05),
  /** By PEFT's rule: a module's full name, or the end of it after a dot; all linear layers of the encoder if none is named. */
  targetModules: z.array(z.string()).min(1).optional(),
  /** Longer texts are cut and counted. */
  maxLength: count.optional(),
  batchSize: count.default(32),
  learningRate: z.number().nonnegative().default(3e-4),
  epochs: z.number().positive().default(3),
  /**
   * A run is long where the estimation's steps are no more than this share of its own: then they count among those of its
   * epochs, and other defaults gain time at what costs little there. An estimation that may stop early takes no more. (A
   * step of it takes longer than one of the run: so many are a twentieth of the time.)
   */
  estimationShare: ratio.default(0.045),
  /** 0: as many as the epochs need; estimation: 800 (Light-PEFT). */
  maxSteps: z.int().min(0).default(0),
  gradientAccumulationSteps: count.default(1),
  /** 0: no clipping. */
  maxGradNorm: z.number().nonnegative().default(1),
  warmupRatio: ratio.default(0.06),
  weightDecay: z.number().nonnegative().default(0),
  adamBeta2: ratio.default(0.999),
  /** The share of tokens that is to be told from the others, and of the steps in which an encoder tells the next token first. */
  maskRate: z.number().gt(0).lt(1).default(0.15),
  causalShare: z.number().min(0).max(1).default(0),
  /** Whether pretraining begins with random weights. */
  scratch: z.boolean().default(false),
  /** How heads and neurons are valued; `train` takes what `estimate` was run for, if nothing else is asked for. */
  estimator: z.enum(ESTIMATOR_NAMES).optional(),
  moduleEstimator: z.enum(MODULE_ESTIMATORS).optional(),
  /** Weights of the L1 norms of the masks in the loss, where masks are trained. */
  l1Heads: z.number().nonnegative().default(1e-4),
  l1Neurons: z.number().nonnegative().default(1e-4),
  /** Multipliers of the learning rate. */
  headMaskLr: z.number().nonnegative().default(1),
  neuronMaskLr: z.number().nonnegative().default(1),
  headRatio: ratio.optional(),
  neuronRatio: ratio.optional(),
  moduleRatio: ratio.optional(),
  rankRatio: ratio.optional(),
  /** Shares of the encoder that may stay, of its parameters or its operations, instead of the ratios of heads and neurons. */
  targetParameters: z.number().gt(0).max(1).optional(),
  targetFlops: z.number().gt(0).max(1).optional(),
  /** Likewise of the time that a training step takes on this machine. */
  targetTime: z.number().gt(0).max(1).optional(),
  /** The share of the adapter's parameters that may stay, instead of the ratios of modules and ranks. */
  targetPeft: z.number().gt(0).max(1).optional(),
  /** Multiplier of the learning rate for what is left of an adapter; by default by how much that is. */
  adapterLr: z.number().positive().optional(),
  /** The last share of the steps, in which only the topmost layer with modules and the head learn; by default 0.1 in a long run. */
  freezeTail: ratio.optional(),
  /** The lowest layers lose all modules where those are together worth no more than this share of all. */
  depth: ratio.default(0),
  /**
   * MiB of memory for what the layers below the lowest module make of the training texts, computed once and without
   * dropout; past them a file in `out`. 0: computed every time.
   */
  prefixCache: z.int().min(0).default(1024),
  /** Neurons of a layer stay by so many; by default sixteen where there is a target. */
  roundTo: count.optional(),
  /** Likewise ranks of a module; by default eight in a long run. */
  rankRoundTo: count.optional(),
  /** What every layer keeps; with 0 a layer may lose its attention or its FFN. Heads: by the target. */
  minHeads: z.int().min(0).optional(),
  minNeurons: z.int().min(0).default(MIN_NEURONS),
  /** Layers that lose neither heads nor neurons, from 0. */
  protect: z.array(z.int().nonnegative()).default([]),
  headScope: z.enum(['layer', 'global']).optional(),
  neuronScope: z.enum(['layer', 'global']).optional(),
  /**
   * What stands in for what is cut: its mean output in the biases that follow (FLAP), or what the rest tells of it by
   * least squares, in low-rank corrections of the weights there.
   */
  compensate: z.enum(['none', 'mean', 'least-squares']).default('least-squares'),
  compensationRank: count.default(32),
  /** Whether surviving masks keep the values that estimation gave them, or are one again (Light-PEFT). */
  foldMasks: z.boolean().default(false),
  /** Whether estimation ends when what it would cut has settled (early-bird), and how that is told. */
  earlyStop: z.boolean().default(false),
  stopWindow: count.default(25),
  stopDistance: z.number().min(0).max(1).default(0.1),
  minSteps: z.int().min(0).default(0),
  /** What `estimate` wrote; `estimate` itself goes on from there with the smaller model. */
  from: z.string().optional(),
  /** Estimations, each but the first with what the cut by the one before leaves of the model. */
  rounds: count.max(100).default(1),
  /** Whether what was cut starts with the weights from before the estimation (EarlyBERT) or goes on with its (Light-PEFT). */
  rewind: z.boolean().default(false),
  /** How much the unpruned model's logits count beside the labels, at which temperature, and what its head reads. */
  distill: z.number().min(0).max(1).default(0),
  distillTemperature: z.number().positive().default(2),
  distillStates: z.number().nonnegative().default(0),
  /** The unpruned model's adapter; that of `from` where none is named. */
  teacher: z.string().optional(),
  /** Whether AdamW goes on with the estimation's moments or with none. */
  carryMoments: z.boolean().default(false),
  adapter: z.string().optional(),
  /** Steps between two savings of the training state; 0: only when the run is interrupted. */
  saveSteps: z.int().min(0).default(0),
  /** Whether to go on from the training state in `out`. */
  resume: z.boolean().default(false),
  /** cpu or cuda:N. */
  device: z.string().default(usualDevice),
  dtype: z.enum(['auto', 'float32', 'bfloat16']).default('auto'),
  /** Whether a step that a GPU has no memory for is done in halves of its micro-batches. */
  smallerBatches: z.boolean().default(false),
  /** On a GPU, whether fp32 products may be rounded to TF32. */
  tf32: z.boolean().default(false),
  /** On a GPU, whether whole steps are recorded as CUDA graphs and run again. */
  graphs: z.boolean().default(false),
  /** 0: one for each core. */
  threads: z.int().min(0).max(1024).default(0),
  seed: z.int().min(0).default(42),
  out: z.string().min(1, 'a folder or file must be named').optional(),
});

export type Options = z.input<typeof SCHEMA>;
export type Settings = z.output<typeof SCHEMA>;

/** The flag of an option. */
export const flagOf = (name: string) => `--${name.replace(/[A-Z]/g, (c) => `-${c.toLowerCase()}`)}`;

/** The flags, by option name. */
export const OPTION_NAMES = Object.keys(SCHEMA.shape) as (keyof Settings)[];

function missing(name: string): never {
  throw new LightPeftError('BAD_OPTION', `${flagOf(name)} is needed here`);
}

/** Those that say how files are read, and what is told of them measured. */
export const READS = SCHEMA.pick({
  task: true,
  textColumns: true,
  labelColumn: true,
  labelNames: true,
  completionColumn: true,
  choiceColumns: true,
  tagColumn: true,
  answerColumn: true,
  metric: true,
});
export type Reads = z.output<typeof READS>;

/** Those that say what is cut. */
export const CUT = SCHEMA.pick({
  ...({ targetParameters: true, targetFlops: true, targetTime: true, targetPeft: true } as const),
  ...({ headRatio: true, neuronRatio: true, moduleRatio: true, rankRatio: true } as const),
  ...({ headScope: true, neuronScope: true, roundTo: true, rankRoundTo: true } as const),
  ...({ minHeads: true, minNeurons: true, depth: true, protect: true } as const),
});
export type Cut = z.input<typeof CUT>;

/** Those of the options that a schema names, where they are given. */
const givenOf = <T extends z.ZodObject>(schema: T, options: z.input<T>): z.input<T> =>
  Object.fromEntries(
    Object.keys(schema.shape)
      .map((name) => [name, options[name]] as const)
      .filter(([, value]) => value !== undefined),
  ) as z.input<T>;

/** What is said of how files are read. */
export const readsOf = (options: Reads): Reads => givenOf(READS, options);

/** What is said of the cut. */
export const cutOf = (options: Cut): Cut => givenOf(CUT, options);

/**
 * Fills in the defaults.
 * @throws {LightPeftError} BAD_OPTION, naming the first flag that is wrong
 */
export function settle(options: Options): Settings {
  const parsed = SCHEMA.safeParse(options, { error: worded });
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const name = String(issue?.path[0] ?? '') as keyof Settings;
  if (issue?.code === 'invalid_type' && options[name] === undefined) missing(name);
  const where = issue?.code === 'unrecognized_keys' ? issue.keys.join(', ') : flagOf(name);
  throw new LightPeftError('BAD_OPTION', `${where}: ${issue?.message ?? 'not understood'}`);
}

/**
 * An option that this phase cannot do without.
 * @throws {LightPeftError} BAD_OPTION
 */
export function needed<K extends keyof Settings>(settings: Settings, name: K): NonNullable<Settings[K]> {
  const value = settings[name];
  return value ?? missing(name);
}
