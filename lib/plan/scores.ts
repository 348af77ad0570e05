import type { Site } from '../checkpoint/spec.ts';

/** By what a Plan is made; a higher score is worth more. */
export interface Scores {
  /** Of the base that was measured. */
  fingerprint: string;
  /** Training steps that they were taken over. */
  steps: number;
  /** Whether scores of heads and of neurons are on one scale: changes of the loss, say. */
  together: boolean;
  /** Per layer [heads]. */
  heads: Float32Array[];
  /** Per layer [FFN]. */
  neurons: Float32Array[];
  modules: ModuleScores[];
}

/** Where a PEFT module sits. */
export interface ModulePlace {
  /** The module's path in the Hugging Face model, such as `roberta.encoder.layer.0.attention.self.query`. */
  name: string;
  layer: number;
  site: Site;
}

export interface ModuleScores extends ModulePlace {
  /** Of the module as a whole; Light-PEFT's is the mean over tokens of |branch| / |base output|. */
  ratio: number;
  /** [r] */
  ranks: Float32Array;
}
