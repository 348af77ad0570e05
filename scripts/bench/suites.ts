import type { LayerWork } from './flops.ts';
import { fixed, type Lengths, lengthsOf, SHAPES, type ShapeName } from './shapes.ts';

/** A piece of work that contenders of several suites do side by side. */
export interface Case {
  name: string;
  shape: ShapeName;
  batches: Lengths[];
  /** Of hidden states, attention and LoRA; 0.1 stands for 0.1, 0.1 and 0.05. */
  dropout: number;
  /** Measurements of each contender. */
  rounds: number;
  /** How often each goes over the batches, where once is too short to be timed; 1 unless told. */
  repeats?: number;
}

export type Contenders =
  | 'light-peft-vanilla'
  | 'light-peft-light'
  | 'light-peft-estimate'
  | 'light-peft-estimate-paper'
  | 'hf-peft-bf16'
  | 'hf-peft-fp32'
  | 'hf-peft-compiled'
  | 'reference-setting';

export interface Suite {
  kind: 'train' | 'inference';
  cases: Case[];
  contenders: (of: Case) => Contenders[];
  /** Whether attention is timed by itself, too. */
  attention?: boolean;
}

const STEP: Case[] = [
  { name: 'roberta-base-8x128', shape: 'roberta-base', batches: fixed(8, 128), dropout: 0.1, rounds: 5 },
  { name: 'roberta-base-8x128', shape: 'roberta-base', batches: fixed(8, 128), dropout: 0, rounds: 5 },
  { name: 'roberta-large-8x128', shape: 'roberta-large', batches: fixed(8, 128), dropout: 0.1, rounds: 5 },
  { name: 'roberta-large-8x128', shape: 'roberta-large', batches: fixed(8, 128), dropout: 0, rounds: 5 },
  { name: 'sst2-32', shape: 'roberta-base', batches: lengthsOf('sst2', 32, 2), dropout: 0.1, rounds: 3 },
];

/** Of ours alone: more shapes, the lengths of more tasks, and what grows with tokens, layers and length. */
const MORE: Case[] = [
  { name: 'minilm-32x128', shape: 'minilm', batches: fixed(32, 128), dropout: 0.1, rounds: 5 },
  { name: 'rte-32', shape: 'roberta-base', batches: lengthsOf('rte', 32, 1), dropout: 0.1, rounds: 5 },
  { name: 'boolq-16', shape: 'roberta-base', batches: lengthsOf('boolq', 16, 1), dropout: 0.1, rounds: 5 },
  {
    name: 'opt-1.3b-4-layers-4x128',
    shape: 'opt-1.3b-4-layers',
    batches: fixed(4, 128),
    dropout: 0.1,
    rounds: 5,
  },
];

const grown = (shape: ShapeName, batch: number, length: number): Case => ({
  ...{ name: `${shape}-${batch}x${length}`, shape, batches: fixed(batch, length), dropout: 0.1, rounds: 5 },
});

/** What grows with the texts of a batch, with layers, and with the length of texts: 1,024 tokens in all of the last. */
const GROWTH: Case[] = [
  ...[1, 2, 4, 8, 16].map((batch) => grown('roberta-base', batch, 128)),
  ...([3, 6, 9] as const).map((layers) => grown(`roberta-base-${layers}-layers`, 8, 128)),
  ...[32, 16, 4, 2].map((batch) => grown('roberta-base', batch, 1024 / batch)),
  grown('roberta-large', 2, 512),
];

const onGpu = (
  name: string,
  shape: ShapeName,
  batches: Lengths[],
  dropout: number,
  repeats: number,
): Case => ({
  ...{ name, shape, batches, dropout, repeats, rounds: 7 },
});

/** Two batches, of which estimation scores one. */
const LARGE: Case[] = [0.1, 0].map((dropout) =>
  onGpu('roberta-large-32x128', 'roberta-large', [...fixed(32, 128), ...fixed(32, 128)], dropout, 10),
);
const SST2_LARGE = onGpu('roberta-large-sst2-32', 'roberta-large', lengthsOf('sst2', 32, 8), 0.1, 4);

/** Ours alone. */
const DECODERS: Case[] = [
  onGpu('opt-1.3b-8x512', 'opt-1.3b', fixed(8, 512), 0.1, 8),
  onGpu('opt-6.7b-4x512', 'opt-6.7b', fixed(4, 512), 0.1, 4),
];

const isReference = ({ name }: Case) => name === 'sst2-32';

/** Those of `npm run bench:gpu`, by what is to be known first: it may be stopped before its end. */
export const GPU_SUITES = ['gpu-step', 'gpu-decoders', 'gpu-inference', 'gpu-peers'] as const;

type SuiteName =
  'step' | 'growth' | 'inference' | 'estimate' | 'peers' | 'memory' | (typeof GPU_SUITES)[number];

export const SUITES: Record<SuiteName, Suite> = {
  step: {
    kind: 'train',
    cases: [...STEP, ...MORE],
    contenders: () => ['light-peft-vanilla', 'light-peft-light'],
  },
  growth: { kind: 'train', cases: GROWTH, contenders: () => ['light-peft-vanilla'], attention: true },
  estimate: {
    kind: 'train',
    // Two steps, of which estimation scores one.
    cases: [{ ...STEP[0]!, batches: [...fixed(8, 128), ...fixed(8, 128)] }],
    contenders: () => ['light-peft-vanilla', 'light-peft-estimate', 'light-peft-estimate-paper'],
  },
  inference: {
    kind: 'inference',
    cases: [STEP[0]!, STEP[4]!],
    contenders: () => ['light-peft-vanilla', 'light-peft-light', 'hf-peft-bf16'],
  },
  peers: {
    kind: 'train',
    cases: STEP,
    contenders: (of) => [
      'light-peft-vanilla',
      'hf-peft-bf16',
      ...(of.dropout > 0 ? (['hf-peft-fp32'] as const) : []),
      ...(of.name === 'roberta-base-8x128' && of.dropout > 0 ? (['hf-peft-compiled'] as const) : []),
      ...(isReference(of) ? (['reference-setting'] as const) : []),
    ],
  },
  memory: {
    kind: 'train',
    cases: [
      {
        name: 'roberta-large-32x128',
        shape: 'roberta-large',
        batches: fixed(32, 128),
        dropout: 0.1,
        rounds: 1,
      },
    ],
    contenders: () => ['light-peft-vanilla', 'hf-peft-bf16'],
  },
  'gpu-step': {
    kind: 'train',
    cases: LARGE,
    contenders: () => ['light-peft-vanilla', 'light-peft-light', 'light-peft-estimate'],
  },
  'gpu-decoders': { kind: 'train', cases: DECODERS, contenders: () => ['light-peft-vanilla'] },
  'gpu-inference': {
    kind: 'inference',
    cases: [LARGE[1]!, SST2_LARGE],
    contenders: () => ['light-peft-vanilla', 'light-peft-light', 'hf-peft-bf16'],
  },
  'gpu-peers': {
    kind: 'train',
    // Each has two or three models compiled, which takes longest of all.
    cases: [LARGE[0]!, SST2_LARGE, LARGE[1]!],
    contenders: () => ['light-peft-vanilla', 'hf-peft-bf16', 'hf-peft-compiled'],
  },
};

/** What of a suite is asked for; all where nothing is. */
export interface Picked {
  case?: string[];
  dropout?: number;
}

export const pickedCases = (cases: readonly Case[], { case: names, dropout }: Picked): Case[] =>
  cases.filter((of) => (names?.includes(of.name) ?? true) && (dropout ?? of.dropout) === of.dropout);

/** All six LoRA modules of rank 8 in every layer. */
export const wholeLayers = (shape: ShapeName): LayerWork[] =>
  Array.from({ length: SHAPES[shape].layers }, () => ({
    heads: SHAPES[shape].heads,
    neurons: SHAPES[shape].ffn,
    ranks: [8, 8, 8, 8, 8, 8],
  }));

/** Of which products like multiples: a cut keeps as many or more. */
const ROUND_TO = 16;

/** Heads and neurons less a third, one module in four of half the rank: Light-PEFT's ratios. */
export const lightLayers = (shape: ShapeName): LayerWork[] =>
  wholeLayers(shape).map(({ heads, neurons, ranks }, l) => ({
    heads: heads - Math.round(heads / 3),
    neurons: Math.ceil((2 * neurons) / 3 / ROUND_TO) * ROUND_TO,
    ranks: ranks.map((_, site) => ((l * ranks.length + site) % 4 === 1 ? 4 : 0)),
  }));
