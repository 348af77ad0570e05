/** The places of a layer where a PEFT module can sit, in the order of the forward pass; a layer has some of them. */
export const SITES = [
  ...(['qkv', 'query', 'key', 'value', 'attention.output'] as const),
  ...(['gate', 'intermediate', 'output'] as const),
] as const;
export type Site = (typeof SITES)[number];

/** What a head tells: classes or a value of a text, which of some texts it is, a tag of each token, a span of a text. */
export const TOLD = ['classes', 'choices', 'tags', 'spans'] as const;
export type Told = (typeof TOLD)[number];

/** What tells that. */
export interface Head {
  /** Dense, activation, dropout, projection; or dropout and a projection alone. */
  kind: 'dense' | 'score';
  /** Of the projection. */
  bias: boolean;
  activation: 'tanh' | 'gelu' | 'relu';
  /** Whether dropout comes before the dense, too. */
  dropoutFirst: boolean;
  /** Whether the dense is a part of the base where the checkpoint has it, and stays as it is (BERT's pooler). */
  frozen: boolean;
}

/** Rotary positions (Su et al. 2021): of each head the first 2 * frequencies.length values are turned. */
export interface Rotary {
  /** Radians a position; empty: there are none. */
  frequencies: number[];
  /** Of cosines and sines. */
  factor: number;
  /** Whether neighbours are a pair (GPT-J), not the values half of what is turned apart. */
  interleaved: boolean;
}

export type Activation = 'gelu' | 'gelu_tanh' | 'relu' | 'silu';

/** What the engine has to know of a transformer, whatever its config.json calls it. */
export interface Spec {
  family: string;
  layers: number;
  hidden: number;
  /** Of the embeddings; where it is not the hidden size, they are projected. */
  embedding: number;
  /** Those with keys and values of their own: the units of pruning. */
  heads: number;
  /** Query heads to each (grouped-query attention, Ainslie et al. 2023). */
  group: number;
  headSize: number;
  ffn: number;
  /** Whether FFNs are gated: act(gate) * up (Shazeer 2020). */
  gated: boolean;
  activation: Activation;
  norm: 'layer' | 'rms';
  normEps: number;
  /** Whether each half of a layer begins with its norm, rather than ends with it. */
  normFirst: boolean;
  /** Whether both halves read the layer's input, and what they give is added. */
  parallel: boolean;
  /** Whether they share one norm then. */
  sharedNorm: boolean;
  embeddingNorm: boolean;
  /** After the last layer. */
  finalNorm: boolean;
  /** Of each query and key head. */
  queryKeyNorm: boolean;
  /** Whether one weight gives query, key and value, and how its rows lie. */
  fused: 'no' | 'by part' | 'by head';
  /** Linear layers that have a bias. */
  biases: readonly Site[];
  causal: boolean;
  attentionScale: number;
  rotary: Rotary;
  /** ALiBi's (Press et al. 2022), of each query head; empty: there are none. */
  slopes: number[];
  /** How many tokens back each layer sees, itself included; 0: all. Empty: all layers see all. */
  windows: number[];
  vocab: number;
  /** Rows of the position table; 0: there is none. */
  positions: number;
  /** The row of the first token; RoBERTa's is pad_token_id + 1. */
  positionOffset: number;
  /** Whether a pad token within a text has the pad's position, and is not counted (RoBERTa). */
  padPositions: boolean;
  /** 0: there are none. */
  typeVocab: number;
  padId: number;
  embeddingDropout: number;
  /** Of what the FFN adds to its input. */
  hiddenDropout: number;
  /** Of what attention adds to its input. */
  attentionOutputDropout: number;
  attentionDropout: number;
  /** What the head tells, and how. */
  told: Told;
  headDropout: number;
  head: Head;
  /**
   * What tells tokens: the embeddings, a weight of its own, the latter with a bias; of encoders, which tell masked tokens,
   * the embeddings with a bias, after a dense layer with a norm; or nothing does.
   */
  vocabulary: 'none' | 'tied' | 'own' | 'own with bias' | 'masked';
  /** Of that dense layer. */
  vocabularyActivation: Activation;
  /** The most tokens that one sequence may have. */
  maxLength: number;
}

export const NO_ROTARY: Rotary = { frequencies: [], factor: 1, interleaved: false };

/** The sites that a layer has. */
export const sitesOf = ({ fused, gated }: Pick<Spec, 'fused' | 'gated'>): Site[] =>
  SITES.filter((site) => {
    if (site === 'qkv') return fused !== 'no';
    if (site === 'query' || site === 'key' || site === 'value') return fused === 'no';
    return site !== 'gate' || gated;
  });
