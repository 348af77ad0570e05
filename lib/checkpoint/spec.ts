/** What the engine has to know of an encoder, whatever its config.json calls it. */
export interface Spec {
  family: string;
  layers: number;
  hidden: number;
  heads: number;
  headSize: number;
  ffn: number;
  activation: 'gelu' | 'gelu_tanh' | 'relu' | 'silu';
  normEps: number;
  vocab: number;
  /** Rows of the position table. */
  positions: number;
  /** The row of the first token; RoBERTa's is pad_token_id + 1. */
  positionOffset: number;
  typeVocab: number;
  padId: number;
  hiddenDropout: number;
  attentionDropout: number;
  headDropout: number;
  /** The most tokens that one sequence may have. */
  maxLength: number;
}

/** The places of a layer where a PEFT module can sit, in the order of the forward pass. */
export const SITES = ['query', 'key', 'value', 'attention.output', 'intermediate', 'output'] as const;
export type Site = (typeof SITES)[number];
