import { z } from 'zod';
import {
  activationOf,
  checkNumbers,
  denseHead,
  encoder,
  layers,
  probability,
  size,
  STRANGE,
  tokenHeads,
} from './encoder-config.ts';
import { parseFields } from './parse-fields.ts';
import type { Spec, Told } from './spec.ts';

/** Defaults are those of transformers' DistilBertConfig. */
const FIELDS = z.object({
  vocab_size: size,
  dim: size,
  n_layers: layers,
  n_heads: size,
  hidden_dim: size,
  max_position_embeddings: size,
  pad_token_id: z.int().nonnegative().default(0),
  activation: z.string().default('gelu'),
  dropout: probability.default(0.1),
  attention_dropout: probability.default(0.1),
  seq_classif_dropout: probability.default(0.2),
  qa_dropout: probability.default(0.1),
  ...STRANGE,
});

export function parseDistilbert(config: Record<string, unknown>, file: string, told: Told): Spec {
  const fields = parseFields(FIELDS, config, file);
  const activation = activationOf(fields.activation, fields, file);
  const { dim: hidden, n_heads: heads, pad_token_id: padId, vocab_size: vocab } = fields;
  checkNumbers({ hidden, heads, padId, vocab }, { hidden: 'dim', heads: 'n_heads' }, file);
  return {
    family: 'distilbert',
    layers: fields.n_layers,
    hidden,
    embedding: hidden,
    ...encoder(hidden, heads),
    ffn: fields.hidden_dim,
    activation,
    // Written into its code.
    normEps: 1e-12,
    vocab,
    positions: fields.max_position_embeddings,
    positionOffset: 0,
    padPositions: false,
    typeVocab: 0,
    padId,
    embeddingDropout: fields.dropout,
    hiddenDropout: fields.dropout,
    // Nothing is dropped of what attention gives.
    attentionOutputDropout: 0,
    attentionDropout: fields.attention_dropout,
    told,
    ...(told === 'classes' || told === 'choices'
      ? { head: denseHead('relu'), headDropout: fields.seq_classif_dropout }
      : tokenHeads(fields.dropout, fields.qa_dropout)[told]),
    vocabularyActivation: activation,
    maxLength: fields.max_position_embeddings,
  };
}
