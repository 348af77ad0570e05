import { Random } from '../../lib/data/random.ts';

export interface Shape {
  hidden: number;
  layers: number;
  heads: number;
  ffn: number;
  /** A decoder of OPT's: no token sees those after it, and the head reads the last. Others are RoBERTa's. */
  causal?: boolean;
}

export const SHAPES = {
  minilm: { hidden: 384, layers: 6, heads: 12, ffn: 1536 },
  'roberta-base': { hidden: 768, layers: 12, heads: 12, ffn: 3072 },
  'roberta-base-3-layers': { hidden: 768, layers: 3, heads: 12, ffn: 3072 },
  'roberta-base-6-layers': { hidden: 768, layers: 6, heads: 12, ffn: 3072 },
  'roberta-base-9-layers': { hidden: 768, layers: 9, heads: 12, ffn: 3072 },
  'opt-1.3b-4-layers': { hidden: 2048, layers: 4, heads: 32, ffn: 8192 },
  'roberta-large': { hidden: 1024, layers: 24, heads: 16, ffn: 4096 },
  'opt-1.3b': { hidden: 2048, layers: 24, heads: 32, ffn: 8192, causal: true },
  'opt-6.7b': { hidden: 4096, layers: 32, heads: 32, ffn: 16384, causal: true },
} satisfies Record<string, Shape>;

export type ShapeName = keyof typeof SHAPES;

export const VOCAB = 50265;

/** Token counts of the texts of one batch, special tokens included. */
export type Lengths = number[];

/**
 * Forty equal steps of the distribution of token counts, special tokens included, in the training files of these tasks
 * under a vocabulary of 8,192 byte pairs (demo/encoder's).
 */
const QUANTILES = {
  sst2: [
    ...[3, 4, 5, 5, 6, 6, 6, 6, 7, 7, 7, 8, 8, 9, 9, 9, 10, 10, 11, 11, 12, 13, 13, 14, 15, 15, 16, 17, 18],
    ...[19, 21, 22, 23, 25, 27, 29, 32, 35, 39, 45, 78],
  ],
  rte: [
    ...[20, 34, 38, 41, 44, 47, 48, 50, 52, 54, 56, 58, 59, 60, 62, 64, 66, 67, 69, 70, 73, 75, 76, 79, 81],
    ...[85, 87, 91, 95, 101, 108, 119, 132, 141, 152, 161, 172, 184, 196, 223, 355],
  ],
  boolq: [
    ...[26, 50, 63, 71, 77, 83, 88, 93, 99, 104, 109, 113, 118, 122, 127, 131, 135, 138, 142, 146, 150, 155],
    ...[160, 166, 171, 176, 182, 186, 192, 199, 206, 215, 223, 234, 246, 257, 275, 296, 322, 374, 512],
  ],
} satisfies Record<string, number[]>;

export type TaskName = keyof typeof QUANTILES;

export const fixed = (batch: number, length: number): Lengths[] => [
  Array.from({ length: batch }, () => length),
];

/** Batches of texts as long as a task's are, the same on every machine. */
export function lengthsOf(task: TaskName, batch: number, batches: number): Lengths[] {
  const quantiles = QUANTILES[task];
  const random = new Random(11);
  const one = () => {
    const at = (random.below(1 << 20) / (1 << 20)) * (quantiles.length - 1);
    const low = Math.floor(at);
    return Math.round(quantiles[low]! + (at - low) * (quantiles[low + 1]! - quantiles[low]!));
  };
  return Array.from({ length: batches }, () => Array.from({ length: batch }, one));
}
