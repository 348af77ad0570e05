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
  /** How often a measurement goes over the batches; it tells the time of going over them once. */
  repeats: number;
  threads: number;
  /** cpu or cuda:N */
  device: string;
  /** Whether steps are recorded there. */
  graphs: boolean;
}

/** What Python's contender is told beside it. */
export interface PeerWork extends Work {
  dtype: 'bfloat16' | 'float32';
  compile: boolean;
  /** Every text as long as this; 0: as the longest of its batch. */
  padTo: number;
}
