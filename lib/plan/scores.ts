/** What the estimation measured; a higher score is worth more. */
export interface Scores {
  /** Of the base that was measured. */
  fingerprint: string;
  /** Training steps that the scores were taken over. */
  steps: number;
  /** Per layer [heads]: the learned head masks, signed. */
  heads: Float32Array[];
  /** Per layer [FFN]: the learned neuron masks, signed. */
  neurons: Float32Array[];
  modules: ModuleScores[];
}

export interface ModuleScores {
  /** The module's path in the Hugging Face model, such as `roberta.encoder.layer.0.attention.self.query`. */
  name: string;
  /** Mean over tokens of |branch| / |base output|. */
  ratio: number;
  /** [r] */
  ranks: Float32Array;
}
