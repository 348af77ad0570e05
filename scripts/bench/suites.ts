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

const isReference = ({ name }: Case) => name === 'sst2-32';

export const SUITES: Record<'step' | 'growth' | 'inference' | 'estimate' | 'peers' | 'memory', Suite> = {
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
};

/** All six LoRA modules of rank 8 in every layer. */
export const wholeLayers = (shape: ShapeName): LayerWork[] =>
  Array.from({ length: SHAPES[shape].layers }, () => ({
    heads: SHAPES[shape].heads,
    neurons: SHAPES[shape].ffn,
    ranks: [8, 8, 8, 8, 8, 8],
  }));

/** Heads and neurons less a third, one module in four of half the rank: Light-PEFT's ratios. */
export const lightLayers = (shape: ShapeName): LayerWork[] =>
  wholeLayers(shape).map(({ heads, neurons, ranks }, l) => ({
    heads: heads - Math.round(heads / 3),
    neurons: neurons - Math.round(neurons / 3),
    ranks: ranks.map((_, site) => ((l * ranks.length + site) % 4 === 1 ? 4 : 0)),
  }));
