/** The classification head: dense, activation, dropout, projection. */
export interface Head {
  activation: 'tanh' | 'gelu' | 'relu';
  /** Whether dropout comes before the dense, too. */
  dropoutFirst: boolean;
  /** Whether the dense is a part of the base where the checkpoint has it, and stays as it is (BERT's pooler). */
  frozen: boolean;
}

/** What the engine has to know of an encoder, whatever its config.json calls it. */
export interface Spec {
  family: string;
  layers: number;
  hidden: number;
  /** Of the embeddings; where it is not the hidden size, they are projected. */
  embedding: number;
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
  /** Whether a pad token within a text has the pad's position, and is not counted (RoBERTa). */
  padPositions: boolean;
  /** 0: there are none. */
  typeVocab: number;
  padId: number;
  hiddenDropout: number;
  /** Of what attention adds to its input. */
  attentionOutputDropout: number;
  attentionDropout: number;
  headDropout: number;
  head: Head;
  /** The most tokens that one sequence may have. */
  maxLength: number;
}

/** The places of a layer where a PEFT module can sit, in the order of the forward pass. */
export const SITES = ['query', 'key', 'value', 'attention.output', 'intermediate', 'output'] as const;
export type Site = (typeof SITES)[number];
