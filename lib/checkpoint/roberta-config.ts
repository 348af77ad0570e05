import { z } from 'zod';
import { LightPeftError } from '../errors.ts';
import { parseFields } from './parse-fields.ts';
import type { Spec } from './spec.ts';

// Far above any encoder; a stray number shall be refused before lists are made from it.
const size = z.int().positive().max(10_000_000);
const layers = z.int().positive().max(10_000);
const probability = z.number().min(0).max(1);

/** Defaults are those of transformers' RobertaConfig; sizes have none, as a file without them is broken. */
const FIELDS = z.object({
  vocab_size: size,
  hidden_size: size,
  num_hidden_layers: layers,
  num_attention_heads: size,
  intermediate_size: size,
  max_position_embeddings: size,
  type_vocab_size: size.default(2),
  pad_token_id: z.int().nonnegative().default(1),
  hidden_act: z.string().default('gelu'),
  layer_norm_eps: z.number().positive().default(1e-12),
  hidden_dropout_prob: probability.default(0.1),
  attention_probs_dropout_prob: probability.default(0.1),
  classifier_dropout: probability.nullish(),
  position_embedding_type: z.string().nullish(),
  is_decoder: z.boolean().nullish(),
  add_cross_attention: z.boolean().nullish(),
  pruned_heads: z.record(z.string(), z.unknown()).nullish(),
  quantization_config: z.unknown().optional(),
});

type Fields = z.infer<typeof FIELDS>;

/** By the names of transformers. Those of one kind differ in how they are computed, not in what. */
const ACTIVATIONS: ReadonlyMap<string, Spec['activation']> = new Map([
  ['gelu', 'gelu'],
  ['gelu_python', 'gelu'],
  ['gelu_new', 'gelu_tanh'],
  ['gelu_fast', 'gelu_tanh'],
  ['gelu_pytorch_tanh', 'gelu_tanh'],
  ['relu', 'relu'],
  ['silu', 'silu'],
  ['swish', 'silu'],
]);

function activationOf(fields: Fields, file: string): Spec['activation'] {
  const unsupported = (what: string) =>
    new LightPeftError('UNSUPPORTED_MODEL', `${file}: ${what} is not supported`);
  const { hidden_act, position_embedding_type } = fields;
  if ((position_embedding_type ?? 'absolute') !== 'absolute')
    throw unsupported(`position_embedding_type "${position_embedding_type}"`);
  if (fields.is_decoder) throw unsupported('is_decoder, a model with causal attention,');
  if (fields.add_cross_attention) throw unsupported('add_cross_attention');
  if (Object.keys(fields.pruned_heads ?? {}).length > 0) throw unsupported('pruned_heads');
  if (fields.quantization_config != null) throw unsupported('quantization_config');
  const activation = ACTIVATIONS.get(hidden_act);
  if (activation === undefined)
    throw unsupported(`hidden_act "${hidden_act}" (known: ${[...ACTIVATIONS.keys()].join(', ')})`);
  return activation;
}

export function parseRoberta(config: Record<string, unknown>, file: string): Spec {
  const fields = parseFields(FIELDS, config, file);
  const activation = activationOf(fields, file);
  const bad = (message: string) => new LightPeftError('BAD_CONFIG', `${file}: ${message}`);
  const { hidden_size: hidden, num_attention_heads: heads, pad_token_id: padId, vocab_size: vocab } = fields;
  if (hidden % heads !== 0)
    throw bad(`hidden_size ${hidden} is not a multiple of num_attention_heads ${heads}`);
  if (padId >= vocab) throw bad(`pad_token_id ${padId} is outside the ${vocab} tokens of vocab_size`);
  const positions = fields.max_position_embeddings;
  const positionOffset = padId + 1;
  if (positions <= positionOffset)
    throw bad(`max_position_embeddings ${positions} leaves no position after pad_token_id ${padId}`);
  return {
    family: 'roberta',
    layers: fields.num_hidden_layers,
    hidden,
    heads,
    headSize: hidden / heads,
    ffn: fields.intermediate_size,
    activation,
    normEps: fields.layer_norm_eps,
    vocab,
    positions,
    positionOffset,
    typeVocab: fields.type_vocab_size,
    padId,
    hiddenDropout: fields.hidden_dropout_prob,
    attentionDropout: fields.attention_probs_dropout_prob,
    headDropout: fields.classifier_dropout ?? fields.hidden_dropout_prob,
    maxLength: positions - positionOffset,
  };
}
