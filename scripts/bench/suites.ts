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
  | 'hf-peft-bf16'
  | 'hf-peft-fp32'
  | 'hf-peft-compiled'
  | 'reference-setting';

export interface Suite {
  kind: 'train' | 'inference';
  cases: Case[];
  contenders: (of: Case) => Contenders[];
}

const STEP: Case[] = [
  { name: 'roberta-base-8x128', shape: 'roberta-base', batches: fixed(8, 128), dropout: 0.1, rounds: 5 },
  { name: 'roberta-base-8x128', shape: 'roberta-base', batches: fixed(8, 128), dropout: 0, rounds: 5 },
  { name: 'roberta-large-8x128', shape: 'roberta-large', batches: fixed(8, 128), dropout: 0.1, rounds: 3 },
  { name: 'roberta-large-8x128', shape: 'roberta-large', batches: fixed(8, 128), dropout: 0, rounds: 3 },
  { name: 'sst2-32', shape: 'roberta-base', batches: lengthsOf('sst2', 32, 2), dropout: 0.1, rounds: 3 },
];

/** Of ours alone: more shapes, the lengths of more tasks, and what grows with tokens, layers and length. */
const MORE: Case[] = [
  { name: 'minilm-32x128', shape: 'minilm', batches: fixed(32, 128), dropout: 0.1, rounds: 5 },
  { name: 'rte-32', shape: 'roberta-base', batches: lengthsOf('rte', 32, 1), dropout: 0.1, rounds: 5 },
  { name: 'boolq-16', shape: 'roberta-base', batches: lengthsOf('boolq', 16, 1), dropout: 0.1, rounds: 5 },
  ...[1, 2, 4, 16].map((n): Case => ({
    ...{ name: `roberta-base-${n}x128`, shape: 'roberta-base', batches: fixed(n, 128) },
    ...{ dropout: 0.1, rounds: 5 },
  })),
  { name: 'roberta-base-2x512', shape: 'roberta-base', batches: fixed(2, 512), dropout: 0.1, rounds: 5 },
];

const isReference = ({ name }: Case) => name === 'sst2-32';

export const SUITES: Record<'step' | 'inference' | 'estimate' | 'peers' | 'memory', Suite> = {
  step: {
    kind: 'train',
    cases: [...STEP, ...MORE],
    contenders: () => ['light-peft-vanilla', 'light-peft-light'],
  },
  estimate: {
    kind: 'train',
    // Two steps, of which estimation scores one.
    cases: [{ ...STEP[0]!, batches: [...fixed(8, 128), ...fixed(8, 128)] }],
    contenders: () => ['light-peft-vanilla', 'light-peft-estimate'],
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
