import { LightPeftError } from './errors.ts';
import type { Settings } from './options.ts';
import { ESTIMATOR_NAMES, MODULE_ESTIMATORS } from './plan/estimators.ts';
import { TASK_NAMES } from './tasks.ts';

export const number = (text: string): number => {
  const value = Number(text);
  if (text.trim() === '' || Number.isNaN(value))
    throw new LightPeftError('BAD_OPTION', `"${text}" is not a number`);
  return value;
};
const list = (text: string): string[] => text.split(',').map((item) => item.trim());

export type Command =
  'estimate' | 'train' | 'vanilla-train' | 'pretrain' | 'evaluate' | 'predict' | 'generate';

export const COMMANDS: Record<Command, string> = {
  estimate: 'Learns head and neuron masks beside LoRA for a short time and writes what each part is worth.',
  train: 'Cuts the base by what estimate found, trains the smaller model and writes a light adapter.',
  'vanilla-train':
    'Trains LoRA on the whole base and writes a Hugging Face PEFT adapter, or the model itself (--peft none).',
  pretrain: 'Trains a model on texts, encoders on masked tokens and decoders on the next one, and writes it.',
  evaluate: "Measures a base with an adapter, or a checkpoint's own head, on a file.",
  predict: 'Prints logits and label of each text as JSON lines.',
  generate: 'Continues prompts with a decoder, alone or with an adapter.',
};

const CLASSIFYING: readonly Command[] = ['estimate', 'train', 'vanilla-train', 'evaluate', 'predict'];
const ALL: readonly Command[] = [...CLASSIFYING, 'pretrain', 'generate'];
const TASKS: readonly Command[] = ['estimate', 'train', 'vanilla-train'];
const TRAINING: readonly Command[] = [...TASKS, 'pretrain'];
const FRESH: readonly Command[] = ['estimate', 'vanilla-train'];

/** What a flag takes, of which commands, and which of them cannot do without it. */
export interface Flag {
  name: keyof Settings;
  takes?: string;
  help: string;
  of: readonly Command[];
  needs?: readonly Command[];
  parse?: (text: string) => unknown;
  /** Whether it adds to a list each time. */
  several?: boolean;
}

export const FLAGS: readonly Flag[] = [
  { name: 'model', takes: 'folder', help: 'Hugging Face checkpoint', of: ALL, needs: ALL },
  {
    name: 'task',
    takes: 'name',
    help: `sets columns, class names and metrics: ${TASK_NAMES.join(', ')}`,
    of: CLASSIFYING,
  },
  { name: 'trainFile', takes: 'file', help: 'JSONL, TSV, CSV or TXT', of: TRAINING, needs: TRAINING },
  {
    name: 'validationFile',
    takes: 'file',
    help: 'JSONL, TSV, CSV or TXT',
    of: [...TRAINING, 'evaluate'],
    needs: ['evaluate'],
  },
  {
    name: 'input',
    takes: 'file',
    help: 'JSONL, TSV or CSV; labels are not needed',
    of: ['predict'],
    needs: ['predict'],
  },
  {
    name: 'adapter',
    takes: 'folder',
    help: 'what train, vanilla-train or PEFT wrote',
    of: ['evaluate', 'predict', 'generate'],
  },
  {
    name: 'prompt',
    takes: 'text',
    help: 'what to continue; may be given several times',
    of: ['generate'],
    needs: ['generate'],
    several: true,
  },
  { name: 'maxNewTokens', takes: 'n', help: 'at most', of: ['generate'], parse: number },
  { name: 'sample', help: 'draw tokens, in place of the likeliest', of: ['generate'] },
  { name: 'temperature', takes: 'x', help: 'of drawing', of: ['generate'], parse: number },
  { name: 'topK', takes: 'n', help: 'draw from so many; 0: from all', of: ['generate'], parse: number },
  {
    name: 'topP',
    takes: 'x',
    help: 'draw from those with this probability',
    of: ['generate'],
    parse: number,
  },
  { name: 'beams', takes: 'n', help: 'texts that a search follows', of: ['generate'], parse: number },
  {
    name: 'lengthPenalty',
    takes: 'x',
    help: "power of a text's length that its score is divided by, with beams",
    of: ['generate'],
    parse: number,
  },
  {
    name: 'from',
    takes: 'folder',
    help: 'what estimate wrote',
    of: ['train'],
    needs: ['train'],
  },
  {
    name: 'from',
    takes: 'folder',
    help: 'an earlier estimate, to go on with the smaller model that it leaves',
    of: ['estimate'],
  },
  {
    name: 'rounds',
    takes: 'n',
    help: 'estimations, each but the first with the smaller model that the one before leaves',
    of: ['estimate'],
    parse: number,
  },
  {
    name: 'rewind',
    help: 'start with the weights from before the estimation, not with those after it',
    of: ['estimate', 'train'],
  },
  {
    name: 'distill',
    takes: 'x',
    help: "what the unpruned model's logits count beside the labels, in [0, 1]",
    of: ['train'],
    parse: number,
  },
  {
    name: 'distillTemperature',
    takes: 'x',
    help: 'by which these are divided',
    of: ['train'],
    parse: number,
  },
  {
    name: 'distillStates',
    takes: 'x',
    help: 'weight of the squared error of what the heads read',
    of: ['train'],
    parse: number,
  },
  {
    name: 'teacher',
    takes: 'folder',
    help: "the unpruned model's adapter, instead of that of --from",
    of: ['train'],
  },
  {
    name: 'carryMoments',
    help: "go on with the moments of estimation's optimizer",
    of: ['estimate', 'train'],
  },
  { name: 'out', takes: 'path', help: 'folder of the result', of: TRAINING, needs: TRAINING },
  { name: 'out', takes: 'path', help: 'file of the result, else standard output', of: ['predict'] },
  {
    name: 'textColumns',
    takes: 'names',
    help: 'one or two, by comma',
    of: [...CLASSIFYING, 'pretrain'],
    parse: list,
  },
  { name: 'labelColumn', takes: 'name', help: 'default: label', of: CLASSIFYING },
  {
    name: 'completionColumn',
    takes: 'name',
    help: 'texts that a decoder is to say after those of --text-columns, or alone',
    of: [...TASKS, 'evaluate'],
  },
  {
    name: 'choiceColumns',
    takes: 'names',
    help: 'texts of which the label says one, by its place from 0, by comma',
    of: CLASSIFYING,
    parse: list,
  },
  {
    name: 'tagColumn',
    takes: 'name',
    help: 'lists of tags, one for each word of the lists in --text-columns',
    of: CLASSIFYING,
  },
  {
    name: 'answerColumn',
    takes: 'name',
    help: "answers as SQuAD's: spans of the second of --text-columns, which the first asks for",
    of: CLASSIFYING,
  },
  {
    name: 'docStride',
    takes: 'n',
    help: 'tokens that two windows over a long text share',
    of: CLASSIFYING,
    parse: number,
  },
  { name: 'labelNames', takes: 'names', help: 'class names, by comma', of: CLASSIFYING, parse: list },
  {
    name: 'metric',
    takes: 'name',
    help: 'accuracy, f1, macro_f1, matthews_correlation, pearson, spearmanr; precision, recall; exact_match',
    of: [...TASKS, 'evaluate'],
  },
  {
    name: 'peft',
    takes: 'kind',
    help: 'lora, or none: the model itself is trained, and written',
    of: ['vanilla-train'],
  },
  { name: 'loraR', takes: 'n', help: 'rank', of: FRESH, parse: number },
  { name: 'loraAlpha', takes: 'x', help: 'alpha', of: FRESH, parse: number },
  { name: 'loraDropout', takes: 'p', help: 'dropout before A', of: TASKS, parse: number },
  {
    name: 'targetModules',
    takes: 'names',
    help: "ends of module names, by PEFT's rule",
    of: FRESH,
    parse: list,
  },
  {
    name: 'maxLength',
    takes: 'n',
    help: 'longest text in tokens',
    of: [...CLASSIFYING, 'pretrain'],
    parse: number,
  },
  { name: 'batchSize', takes: 'n', help: 'texts per micro-batch', of: TRAINING, parse: number },
  { name: 'learningRate', takes: 'x', help: 'peak of the schedule', of: TRAINING, parse: number },
  {
    name: 'epochs',
    takes: 'n',
    help: 'passes over the training file',
    of: ['train', 'vanilla-train', 'pretrain'],
    parse: number,
  },
  {
    name: 'maxSteps',
    takes: 'n',
    help: 'optimizer steps; 0: by epochs, estimate: 800',
    of: TRAINING,
    parse: number,
  },
  {
    name: 'gradientAccumulationSteps',
    takes: 'n',
    help: 'micro-batches per step',
    of: TRAINING,
    parse: number,
  },
  { name: 'maxGradNorm', takes: 'x', help: '0: no clipping', of: TRAINING, parse: number },
  { name: 'warmupRatio', takes: 'x', help: 'share of the steps', of: TRAINING, parse: number },
  { name: 'weightDecay', takes: 'x', help: 'of AdamW', of: TRAINING, parse: number },
  { name: 'adamBeta2', takes: 'x', help: 'of AdamW', of: TRAINING, parse: number },
  { name: 'scratch', help: 'begin with random weights, even where there are others', of: ['pretrain'] },
  {
    name: 'maskRate',
    takes: 'x',
    help: 'share of the tokens that an encoder is to tell',
    of: ['pretrain'],
    parse: number,
  },
  {
    name: 'causalShare',
    takes: 'x',
    help: 'share of the steps, the first, in which an encoder tells the next token',
    of: ['pretrain'],
    parse: number,
  },
  {
    name: 'estimator',
    takes: 'name',
    help: `of heads and neurons: ${ESTIMATOR_NAMES.join(', ')}`,
    of: ['estimate', 'train'],
  },
  {
    name: 'moduleEstimator',
    takes: 'name',
    help: `of PEFT modules and ranks: ${MODULE_ESTIMATORS.join(', ')}`,
    of: ['estimate', 'train'],
  },
  {
    name: 'l1Heads',
    takes: 'x',
    help: "weight of the L1 norm of heads' masks",
    of: ['estimate'],
    parse: number,
  },
  {
    name: 'l1Neurons',
    takes: 'x',
    help: "weight of the L1 norm of neurons' masks",
    of: ['estimate'],
    parse: number,
  },
  { name: 'earlyStop', help: 'end when what would be cut has settled', of: ['estimate'] },
  {
    name: 'stopWindow',
    takes: 'n',
    help: 'steps between two looks at what would be cut',
    of: ['estimate'],
    parse: number,
  },
  {
    name: 'stopDistance',
    takes: 'x',
    help: 'share of the units that may still change',
    of: ['estimate'],
    parse: number,
  },
  { name: 'minSteps', takes: 'n', help: 'the fewest steps of estimation', of: ['estimate'], parse: number },
  {
    name: 'headMaskLr',
    takes: 'x',
    help: 'multiplier of the learning rate',
    of: ['estimate'],
    parse: number,
  },
  {
    name: 'neuronMaskLr',
    takes: 'x',
    help: 'multiplier of the learning rate',
    of: ['estimate'],
    parse: number,
  },
  { name: 'headRatio', takes: 'x', help: 'share of heads to cut', of: ['estimate', 'train'], parse: number },
  {
    name: 'neuronRatio',
    takes: 'x',
    help: 'share of FFN neurons to cut',
    of: ['estimate', 'train'],
    parse: number,
  },
  {
    name: 'moduleRatio',
    takes: 'x',
    help: 'share of PEFT modules to cut',
    of: ['estimate', 'train'],
    parse: number,
  },
  { name: 'rankRatio', takes: 'x', help: 'share of ranks to cut', of: ['estimate', 'train'], parse: number },
  {
    name: 'targetParameters',
    takes: 'x',
    help: "share of the encoder's parameters to keep, instead of the ratios of heads and neurons",
    of: ['estimate', 'train'],
    parse: number,
  },
  {
    name: 'targetFlops',
    takes: 'x',
    help: "the same of the encoder's operations",
    of: ['estimate', 'train'],
    parse: number,
  },
  {
    name: 'targetTime',
    takes: 'x',
    help: 'the same of the time of a training step, measured on this machine',
    of: ['estimate', 'train'],
    parse: number,
  },
  {
    name: 'targetPeft',
    takes: 'x',
    help: "share of the adapter's parameters to keep, instead of the ratios of modules and ranks",
    of: ['estimate', 'train'],
    parse: number,
  },
  {
    name: 'depth',
    takes: 'x',
    help: 'the lowest layers lose their modules where these are worth no more than this share',
    of: ['estimate', 'train'],
    parse: number,
  },
  {
    name: 'prefixCache',
    takes: 'MiB',
    help: 'memory for what layers below the lowest module give; 0: computed each time, with dropout',
    of: ['train'],
    parse: number,
  },
  {
    name: 'roundTo',
    takes: 'n',
    help: 'neurons of a layer go by so many',
    of: ['estimate', 'train'],
    parse: number,
  },
  {
    name: 'minHeads',
    takes: 'n',
    help: 'heads that every layer keeps; 0: a layer may lose its attention',
    of: ['estimate', 'train'],
    parse: number,
  },
  {
    name: 'minNeurons',
    takes: 'n',
    help: 'neurons that every layer keeps; 0: a layer may lose its FFN',
    of: ['estimate', 'train'],
    parse: number,
  },
  {
    name: 'protect',
    takes: 'layers',
    help: 'that lose neither heads nor neurons, from 0, by comma',
    of: ['estimate', 'train'],
    parse: (text) => list(text).map(number),
  },
  { name: 'headScope', takes: 'scope', help: 'layer or global', of: ['estimate', 'train'] },
  { name: 'neuronScope', takes: 'scope', help: 'layer or global', of: ['estimate', 'train'] },
  {
    name: 'compensate',
    help: 'put the mean output of what is cut into the biases that follow',
    of: ['train'],
  },
  { name: 'foldMasks', help: 'keep the values of the surviving masks', of: ['train'] },
  {
    name: 'saveSteps',
    takes: 'n',
    help: 'steps between savings of the state; 0: at Ctrl-C only',
    of: TRAINING,
    parse: number,
  },
  { name: 'resume', help: 'go on from the state in --out', of: TRAINING },
  { name: 'device', takes: 'name', help: 'cpu', of: ALL },
  { name: 'dtype', takes: 'name', help: 'auto, float32, bfloat16', of: ALL },
  { name: 'threads', takes: 'n', help: '0: one for each core', of: ALL, parse: number },
  { name: 'seed', takes: 'n', help: 'of everything random', of: ALL, parse: number },
];
