import { z } from 'zod';
import { LightPeftError } from '../errors.ts';
import { type Activation, type Head, NO_ROTARY, type Spec, type Told } from './spec.ts';

// Far above any encoder; a stray number shall be refused before lists are made from it.
export const size = z.int().positive().max(10_000_000);
export const layers = z.int().positive().max(10_000);
export const probability = z.number().min(0).max(1);

/** What makes of an encoder something else, whatever the family. */
export const STRANGE = {
  position_embedding_type: z.string().nullish(),
  is_decoder: z.boolean().nullish(),
  add_cross_attention: z.boolean().nullish(),
  pruned_heads: z.record(z.string(), z.unknown()).nullish(),
  quantization_config: z.unknown().optional(),
};

type Strange = z.infer<z.ZodObject<typeof STRANGE>>;

/** By the names of transformers. Those of one kind differ in how they are computed, not in what. */
const ACTIVATIONS: ReadonlyMap<string, Activation> = new Map([
  ['gelu', 'gelu'],
  ['gelu_python', 'gelu'],
  ['gelu_new', 'gelu_tanh'],
  ['gelu_fast', 'gelu_tanh'],
  ['gelu_pytorch_tanh', 'gelu_tanh'],
  ['relu', 'relu'],
  ['silu', 'silu'],
  ['swish', 'silu'],
]);

/** @throws {LightPeftError} UNSUPPORTED_MODEL: what the engine cannot compute */
export function activationOf(name: string, fields: Strange, file: string): Activation {
  const unsupported = (what: string) =>
    new LightPeftError('UNSUPPORTED_MODEL', `${file}: ${what} is not supported`);
  const { position_embedding_type } = fields;
  if ((position_embedding_type ?? 'absolute') !== 'absolute')
    throw unsupported(`position_embedding_type "${position_embedding_type}"`);
  if (fields.is_decoder) throw unsupported('is_decoder, a model with causal attention,');
  if (fields.add_cross_attention) throw unsupported('add_cross_attention');
  if (Object.keys(fields.pruned_heads ?? {}).length > 0) throw unsupported('pruned_heads');
  if (fields.quantization_config != null) throw unsupported('quantization_config');
  const activation = ACTIVATIONS.get(name);
  if (activation === undefined)
    throw unsupported(`hidden_act "${name}" (known: ${[...ACTIVATIONS.keys()].join(', ')})`);
  return activation;
}

/** @throws {LightPeftError} BAD_CONFIG: numbers that do not fit each other */
export function checkNumbers(
  { hidden, heads, padId, vocab }: Pick<Spec, 'hidden' | 'heads' | 'padId' | 'vocab'>,
  names: { hidden: string; heads: string },
  file: string,
): void {
  const bad = (message: string) => new LightPeftError('BAD_CONFIG', `${file}: ${message}`);
  if (hidden % heads !== 0)
    throw bad(`${names.hidden} ${hidden} is not a multiple of ${names.heads} ${heads}`);
  if (padId >= vocab) throw bad(`pad_token_id ${padId} is outside the ${vocab} tokens of vocab_size`);
}

/** What all encoders here have in common: BERT's block. */
export const encoder = (hidden: number, heads: number) => ({
  heads,
  group: 1,
  headSize: hidden / heads,
  gated: false,
  norm: 'layer' as const,
  normFirst: false,
  parallel: false,
  sharedNorm: false,
  embeddingNorm: true,
  finalNorm: false,
  queryKeyNorm: false,
  fused: 'no' as const,
  biases: ['query', 'key', 'value', 'attention.output', 'intermediate', 'output'] as const,
  causal: false,
  attentionScale: 1 / Math.sqrt(hidden / heads),
  rotary: NO_ROTARY,
  slopes: [],
  windows: [],
  vocabulary: 'masked' as const,
});

const POOLED = { dropoutFirst: false, frozen: false, bias: true } as const;
const PROJECTION: Head = { kind: 'score', activation: 'tanh', ...POOLED };

/** The heads of an encoder, by what they tell, with their dropouts. */
export type Heads = Record<Told, { head: Head; headDropout: number }>;

/** What a token or a span is told by: a projection. */
export const tokenHeads = (tags: number, spans: number): Pick<Heads, 'tags' | 'spans'> => ({
  tags: { head: PROJECTION, headDropout: tags },
  spans: { head: PROJECTION, headDropout: spans },
});

/** A dense layer before the projection. */
export const denseHead = (activation: Head['activation'], more: Partial<Head> = {}): Head => ({
  kind: 'dense',
  activation,
  ...POOLED,
  ...more,
});
