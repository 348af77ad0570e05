import type { LayerWork } from './flops.ts';
import type { Lengths } from './shapes.ts';

/** What a contender does over and over. */
export interface Work {
  kind: 'train' | 'estimate' | 'estimate-paper' | 'inference';
  folder: string;
  layers: LayerWork[];
  light: boolean;
  loraDropout: number;
  batches: Lengths[];
  threads: number;
}

/** What Python's contender is told beside it. */
export interface PeerWork extends Work {
  dtype: 'bfloat16' | 'float32';
  compile: boolean;
  /** Every text as long as this; 0: as the longest of its batch. */
  padTo: number;
}
