import { z } from 'zod';
import { LightPeftError } from '../errors.ts';
import { activationOf, layers, probability, size, STRANGE } from './encoder-config.ts';
import { parseFields } from './parse-fields.ts';
import { rotaryOf } from './rotary.ts';
import { NO_ROTARY, type Site, type Spec } from './spec.ts';

type Json = Record<string, unknown>;
export type Parse = (config: Json, file: string) => Spec;

const optional = size.nullish();

/** What decoders' configs have in common, each by one of these names; a file without a size is broken. */
const FIELDS = z.object({
  vocab_size: size,
  hidden_size: optional,
  n_embd: optional,
  n_embed: optional,
  num_hidden_layers: layers.nullish(),
  n_layer: layers.nullish(),
  num_layers: layers.nullish(),
  num_attention_heads: optional,
  n_head: optional,
  num_heads: optional,
  intermediate_size: optional,
  n_inner: optional,
  ffn_dim: optional,
  max_position_embeddings: optional,
  n_positions: optional,
  hidden_act: z.string().nullish(),
  activation_function: z.string().nullish(),
  layer_norm_epsilon: z.number().positive().nullish(),
  layer_norm_eps: z.number().positive().nullish(),
  rms_norm_eps: z.number().positive().nullish(),
  pad_token_id: z.int().nullish(),
  tie_word_embeddings: z.boolean().nullish(),
  embd_pdrop: probability.nullish(),
  embed_dropout: probability.nullish(),
  resid_pdrop: probability.nullish(),
  resid_dropout: probability.nullish(),
  hidden_dropout: probability.nullish(),
  dropout: probability.nullish(),
  attn_pdrop: probability.nullish(),
  attention_dropout: probability.nullish(),
  attention_bias: z.boolean().nullish(),
  mlp_bias: z.boolean().nullish(),
  ...STRANGE,
  // Which these are.
  is_decoder: z.unknown().optional(),
});

const bad = (file: string, message: string) => new LightPeftError('BAD_CONFIG', `${file}: ${message}`);
const unsupported = (file: string, message: string) =>
  new LightPeftError('UNSUPPORTED_MODEL', `${file}: ${message} is not supported`);

/** What a family's own code has where its config.json is silent. */
interface Usual {
  activation?: string;
  positions?: number;
  eps?: number;
  tied?: boolean;
  dropout?: number;
  attentionDropout?: number;
  /** Whether key and value heads, and their size, may differ from what the others imply. */
  grouped?: boolean;
}

const ATTENTION: readonly Site[] = ['query', 'key', 'value'];
const ALL: readonly Site[] = [...ATTENTION, 'attention.output', 'intermediate', 'output'];

/** Of LLaMA and its kin. */
const GROUPED = z.object({ num_key_value_heads: optional, head_dim: optional });

/** A decoder with learned positions, LayerNorm before each half and biases everywhere: GPT-2's block, but for its weights. */
function decoder(family: string, config: Json, file: string, usual: Usual = {}) {
  const fields = parseFields(FIELDS, config, file);
  const one = (what: string, ...values: (number | null | undefined)[]): number => {
    const value = values.find((each) => each != null);
    if (value === undefined) throw bad(file, `${what} is missing`);
    return value;
  };
  const hidden = one('hidden_size', fields.hidden_size, fields.n_embd, fields.n_embed);
  const queries = one('num_attention_heads', fields.num_attention_heads, fields.n_head, fields.num_heads);
  const grouped = usual.grouped ? parseFields(GROUPED, config, file) : {};
  const heads = grouped.num_key_value_heads ?? queries;
  const positions = one(
    'max_position_embeddings',
    fields.max_position_embeddings,
    fields.n_positions,
    usual.positions,
  );
  if (grouped.head_dim == null && hidden % queries !== 0)
    throw bad(file, `the hidden size ${hidden} is not a multiple of the ${queries} heads`);
  if (queries % heads !== 0)
    throw bad(file, `num_attention_heads ${queries} is not a multiple of num_key_value_heads ${heads}`);
  const headSize = grouped.head_dim ?? hidden / queries;
  const act = fields.hidden_act ?? fields.activation_function ?? usual.activation ?? 'gelu_new';
  const residual = fields.resid_pdrop ?? fields.resid_dropout ?? fields.hidden_dropout ?? fields.dropout;
  const dropout = residual ?? usual.dropout ?? 0;
  const tied = fields.tie_word_embeddings ?? usual.tied ?? true;
  const spec: Spec = {
    family,
    layers: one('num_hidden_layers', fields.num_hidden_layers, fields.n_layer, fields.num_layers),
    hidden,
    embedding: hidden,
    heads,
    group: queries / heads,
    headSize,
    ffn: fields.intermediate_size ?? fields.n_inner ?? fields.ffn_dim ?? 4 * hidden,
    gated: false,
    activation: activationOf(act, { ...fields, is_decoder: false }, file),
    norm: 'layer',
    normEps: fields.layer_norm_epsilon ?? fields.layer_norm_eps ?? fields.rms_norm_eps ?? usual.eps ?? 1e-5,
    normFirst: true,
    parallel: false,
    sharedNorm: false,
    embeddingNorm: false,
    finalNorm: true,
    queryKeyNorm: false,
    fused: 'no',
    biases: ALL,
    causal: true,
    attentionScale: 1 / Math.sqrt(headSize),
    rotary: NO_ROTARY,
    slopes: [],
    windows: [],
    vocab: fields.vocab_size,
    positions,
    positionOffset: 0,
    padPositions: false,
    typeVocab: 0,
    padId: fields.pad_token_id ?? 0,
    embeddingDropout: fields.embd_pdrop ?? fields.embed_dropout ?? 0,
    hiddenDropout: dropout,
    attentionOutputDropout: dropout,
    attentionDropout: fields.attn_pdrop ?? fields.attention_dropout ?? usual.attentionDropout ?? 0,
    told: 'classes',
    headDropout: 0,
    head: { kind: 'score', bias: false, activation: 'tanh', dropoutFirst: false, frozen: false },
    vocabulary: tied ? 'tied' : 'own',
    vocabularyActivation: 'gelu',
    maxLength: positions,
  };
  return { spec, fields };
}

/** Rotary positions in place of a table, of so many values of a head where the config does not say. */
function turned(spec: Spec, config: Json, file: string, values?: number): Spec {
  const { headSize, positions } = spec;
  return {
    ...spec,
    positions: 0,
    ...rotaryOf(config, file, { headSize, positions, ...(values !== undefined && { values }) }),
  };
}

const FUSED: readonly Site[] = ['qkv', 'attention.output', 'intermediate', 'output'];

export const parseGpt2: Parse = (config, file) => {
  const more = parseFields(
    z.object({
      scale_attn_weights: z.boolean().default(true),
      scale_attn_by_inverse_layer_idx: z.boolean().default(false),
    }),
    config,
    file,
  );
  if (more.scale_attn_by_inverse_layer_idx) throw unsupported(file, 'scale_attn_by_inverse_layer_idx');
  const { spec, fields } = decoder('gpt2', config, file, {
    positions: 1024,
    dropout: 0.1,
    attentionDropout: 0.1,
  });
  return {
    ...spec,
    fused: 'by part',
    biases: FUSED,
    attentionScale: more.scale_attn_weights ? spec.attentionScale : 1,
    embeddingDropout: fields.embd_pdrop ?? 0.1,
  };
};

export const parseGptNeo: Parse = (config, file) => {
  const { attention_types: types, window_size: window } = parseFields(
    z.object({
      attention_types: z.array(z.tuple([z.array(z.enum(['global', 'local'])), layers])).default([]),
      window_size: size.default(256),
    }),
    config,
    file,
  );
  const { spec } = decoder('gpt_neo', config, file, { positions: 2048 });
  const kinds = types.flatMap(([pattern, times]) => Array.from({ length: times }, () => pattern).flat());
  const windows = (
    kinds.length > 0 ? kinds : Array.from({ length: spec.layers }, (_, i) => (i % 2 ? 'local' : 'global'))
  ).map((kind) => (kind === 'local' ? window : 0));
  if (windows.length !== spec.layers)
    throw bad(file, `attention_types is for ${windows.length} layers of ${spec.layers}`);
  // Its scores are not scaled.
  return { ...spec, attentionScale: 1, windows, biases: ALL.filter((site) => !ATTENTION.includes(site)) };
};

export const parseGptJ: Parse = (config, file) => {
  const { rotary_dim: rotary } = parseFields(z.object({ rotary_dim: size.nullish() }), config, file);
  const { spec } = decoder('gptj', config, file, { positions: 2048, tied: false });
  if (rotary != null && rotary > spec.headSize)
    throw bad(file, `rotary_dim ${rotary} is more than the ${spec.headSize} values of a head`);
  const whole = turned(spec, {}, file, rotary ?? spec.headSize);
  return {
    ...whole,
    rotary: { ...whole.rotary, interleaved: true },
    parallel: true,
    sharedNorm: true,
    biases: ['intermediate', 'output'],
    vocabulary: 'own with bias',
  };
};

export const parseGptNeoX: Parse = (config, file) => {
  const { use_parallel_residual: parallel } = parseFields(
    z.object({ use_parallel_residual: z.boolean().default(true) }),
    config,
    file,
  );
  const { spec, fields } = decoder('gpt_neox', config, file, { activation: 'gelu', tied: false });
  return {
    ...turned(spec, config, file, Math.trunc(spec.headSize / 4)),
    parallel,
    fused: 'by head',
    biases: (fields.attention_bias ?? true) ? FUSED : ['intermediate', 'output'],
    embeddingDropout: spec.hiddenDropout,
  };
};

/** As ALiBi's authors have it: powers of 2^(-8 / heads), and between them where heads are no power of two. */
export function alibiSlopes(heads: number): number[] {
  const nearest = 2 ** Math.floor(Math.log2(heads));
  const base = (n: number) => 2 ** -(2 ** -(Math.log2(n) - 3));
  const first = Array.from({ length: nearest }, (_, i) => base(nearest) ** (i + 1));
  const rest = Array.from({ length: heads - nearest }, (_, i) => base(2 * nearest) ** (2 * i + 1));
  return [...first, ...rest];
}

export const parseBloom: Parse = (config, file) => {
  const more = parseFields(
    z.object({ apply_residual_connection_post_layernorm: z.boolean().default(false) }),
    config,
    file,
  );
  if (more.apply_residual_connection_post_layernorm)
    throw unsupported(file, 'apply_residual_connection_post_layernorm');
  // Without a table, any length will do; the models were trained on so many.
  const { spec } = decoder('bloom', config, file, { positions: 2048 });
  return {
    ...spec,
    positions: 0,
    slopes: alibiSlopes(spec.heads * spec.group),
    embeddingNorm: true,
    fused: 'by head',
    biases: FUSED,
  };
};

export const parseOpt: Parse = (config, file) => {
  const more = parseFields(
    z.object({
      do_layer_norm_before: z.boolean().default(true),
      _remove_final_layer_norm: z.boolean().default(false),
      word_embed_proj_dim: optional,
      enable_bias: z.boolean().default(true),
      layer_norm_elementwise_affine: z.boolean().default(true),
    }),
    config,
    file,
  );
  if (!more.layer_norm_elementwise_affine) throw unsupported(file, 'layer_norm_elementwise_affine: false');
  const { spec } = decoder('opt', config, file, { activation: 'relu', dropout: 0.1 });
  return {
    ...spec,
    embedding: more.word_embed_proj_dim ?? spec.hidden,
    // Its table begins with two rows for what is padding.
    positions: spec.positions + 2,
    positionOffset: 2,
    normFirst: more.do_layer_norm_before,
    finalNorm: more.do_layer_norm_before && !more._remove_final_layer_norm,
    biases: more.enable_bias ? ALL : [],
  };
};

const WINDOWS = z.object({
  sliding_window: size.nullish(),
  use_sliding_window: z.boolean().nullish(),
  max_window_layers: z.int().nonnegative().nullish(),
  layer_types: z.array(z.enum(['full_attention', 'sliding_attention'])).nullish(),
});

/** What LLaMA and those after it differ in. */
interface Llama {
  /** Linear layers of attention with a bias whatever the config says. */
  biased?: readonly Site[];
  queryKeyNorm?: boolean;
  /** Which layers see a window alone. */
  window?: 'all' | 'those of max_window_layers';
  headSize?: number;
}

export const parseLlama =
  (family: string, { biased = [], queryKeyNorm = false, window, headSize }: Llama = {}): Parse =>
  (config, file) => {
    const given = headSize === undefined ? config : { head_dim: headSize, ...config };
    const { spec, fields } = decoder(family, given, file, {
      ...{ activation: 'silu', tied: false, eps: 1e-6, grouped: true },
    });
    const wide = [...ATTENTION, 'attention.output'] as const;
    // null says that there is none; what is not there is what transformers has.
    const { sliding_window: width, ...more } = parseFields(
      WINDOWS,
      { sliding_window: 4096, ...config },
      file,
    );
    const slides = window === 'all' || (window !== undefined && more.use_sliding_window === true);
    const types =
      more.layer_types ??
      Array.from({ length: spec.layers }, (_, i) =>
        window === 'all' || i >= (more.max_window_layers ?? 28) ? 'sliding_attention' : 'full_attention',
      );
    if (slides && width != null && types.length !== spec.layers)
      throw bad(file, `layer_types is for ${types.length} layers of ${spec.layers}`);
    return {
      ...turned(spec, config, file),
      norm: 'rms',
      gated: true,
      queryKeyNorm,
      biases: [
        ...wide.filter((site) => biased.includes(site) || fields.attention_bias === true),
        ...(fields.mlp_bias === true ? (['gate', 'intermediate', 'output'] as const) : []),
      ],
      windows: slides && width != null ? types.map((type) => (type === 'sliding_attention' ? width : 0)) : [],
    };
  };
