import {
  parseBloom,
  parseGpt2,
  parseGptJ,
  parseGptNeo,
  parseGptNeoX,
  parseLlama,
  parseOpt,
} from './decoder-config.ts';
import type { Family } from './families.ts';
import { named, type Names } from './naming.ts';

const HEAD: Names['head'] = [['classifier.out_proj', 'score']];
const LM_HEAD: Names['vocabulary'] = ['lm_head'];

/** Causal masks and angles, which old files keep. */
const BUFFERS = /(^|\.)(rotary_emb\.inv_freq|attn\.(attention\.)?(masked_)?bias|attention\.(masked_)?bias)$/;

export const gpt2 = named(
  {
    prefix: 'transformer.',
    embeddings: [
      ['embeddings.word', 'wte'],
      ['embeddings.position', 'wpe'],
      ['final.norm', 'ln_f'],
    ],
    layers: 'h',
    layer: [
      ['qkv', 'attn.c_attn'],
      ['attention.output', 'attn.c_proj'],
      ['intermediate', 'mlp.c_fc'],
      ['output', 'mlp.c_proj'],
      ['attention.norm', 'ln_1'],
      ['output.norm', 'ln_2'],
    ],
    head: HEAD,
    vocabulary: LM_HEAD,
    unused: BUFFERS,
    // OpenAI's convolutions of width 1 have their weights the other way round.
    transposed: ['qkv', 'attention.output', 'intermediate', 'output'],
  },
  parseGpt2,
  ['c_attn', 'c_proj', 'c_fc'],
);

export const gptNeo = named(
  {
    prefix: 'transformer.',
    embeddings: [
      ['embeddings.word', 'wte'],
      ['embeddings.position', 'wpe'],
      ['final.norm', 'ln_f'],
    ],
    layers: 'h',
    layer: [
      ['query', 'attn.attention.q_proj'],
      ['key', 'attn.attention.k_proj'],
      ['value', 'attn.attention.v_proj'],
      ['attention.output', 'attn.attention.out_proj'],
      ['intermediate', 'mlp.c_fc'],
      ['output', 'mlp.c_proj'],
      ['attention.norm', 'ln_1'],
      ['output.norm', 'ln_2'],
    ],
    head: HEAD,
    vocabulary: LM_HEAD,
    unused: BUFFERS,
  },
  parseGptNeo,
  ['q_proj', 'k_proj', 'v_proj', 'out_proj', 'c_fc', 'c_proj'],
);

export const gptJ = named(
  {
    prefix: 'transformer.',
    embeddings: [
      ['embeddings.word', 'wte'],
      ['final.norm', 'ln_f'],
    ],
    layers: 'h',
    layer: [
      ['query', 'attn.q_proj'],
      ['key', 'attn.k_proj'],
      ['value', 'attn.v_proj'],
      ['attention.output', 'attn.out_proj'],
      ['intermediate', 'mlp.fc_in'],
      ['output', 'mlp.fc_out'],
      ['attention.norm', 'ln_1'],
    ],
    head: HEAD,
    vocabulary: LM_HEAD,
    unused: BUFFERS,
  },
  parseGptJ,
  ['q_proj', 'k_proj', 'v_proj', 'out_proj', 'fc_in', 'fc_out'],
);

export const gptNeoX = named(
  {
    prefix: 'gpt_neox.',
    embeddings: [
      ['embeddings.word', 'embed_in'],
      ['final.norm', 'final_layer_norm'],
    ],
    layers: 'layers',
    layer: [
      ['qkv', 'attention.query_key_value'],
      ['attention.output', 'attention.dense'],
      ['intermediate', 'mlp.dense_h_to_4h'],
      ['output', 'mlp.dense_4h_to_h'],
      ['attention.norm', 'input_layernorm'],
      ['output.norm', 'post_attention_layernorm'],
    ],
    head: HEAD,
    vocabulary: ['lm_head', 'embed_out'],
    unused: BUFFERS,
  },
  parseGptNeoX,
  ['query_key_value', 'attention.dense', 'dense_h_to_4h', 'dense_4h_to_h'],
);

export const bloom = named(
  {
    prefix: 'transformer.',
    embeddings: [
      ['embeddings.word', 'word_embeddings'],
      ['embeddings.norm', 'word_embeddings_layernorm'],
      ['final.norm', 'ln_f'],
    ],
    layers: 'h',
    layer: [
      ['qkv', 'self_attention.query_key_value'],
      ['attention.output', 'self_attention.dense'],
      ['intermediate', 'mlp.dense_h_to_4h'],
      ['output', 'mlp.dense_4h_to_h'],
      ['attention.norm', 'input_layernorm'],
      ['output.norm', 'post_attention_layernorm'],
    ],
    head: HEAD,
    vocabulary: LM_HEAD,
    unused: BUFFERS,
  },
  parseBloom,
  ['query_key_value', 'self_attention.dense', 'dense_h_to_4h', 'dense_4h_to_h'],
);

export const opt = named(
  {
    prefix: 'model.decoder.',
    shorter: ['decoder.'],
    embeddings: [
      ['embeddings.word', 'embed_tokens'],
      ['embeddings.position', 'embed_positions'],
      ['embeddings.project', 'project_in'],
      ['project.back', 'project_out'],
      ['final.norm', 'final_layer_norm'],
    ],
    layers: 'layers',
    layer: [
      ['query', 'self_attn.q_proj'],
      ['key', 'self_attn.k_proj'],
      ['value', 'self_attn.v_proj'],
      ['attention.output', 'self_attn.out_proj'],
      ['intermediate', 'fc1'],
      ['output', 'fc2'],
      ['attention.norm', 'self_attn_layer_norm'],
      ['output.norm', 'final_layer_norm'],
    ],
    head: HEAD,
    vocabulary: LM_HEAD,
    unused: /^version$/,
  },
  parseOpt,
  ['q_proj', 'k_proj', 'v_proj', 'out_proj', 'fc1', 'fc2'],
);

const LLAMA: Names = {
  prefix: 'model.',
  embeddings: [
    ['embeddings.word', 'embed_tokens'],
    ['final.norm', 'norm'],
  ],
  layers: 'layers',
  layer: [
    ['query', 'self_attn.q_proj'],
    ['key', 'self_attn.k_proj'],
    ['value', 'self_attn.v_proj'],
    ['query.norm', 'self_attn.q_norm'],
    ['key.norm', 'self_attn.k_norm'],
    ['attention.output', 'self_attn.o_proj'],
    ['gate', 'mlp.gate_proj'],
    ['intermediate', 'mlp.up_proj'],
    ['output', 'mlp.down_proj'],
    ['attention.norm', 'input_layernorm'],
    ['output.norm', 'post_attention_layernorm'],
  ],
  head: HEAD,
  vocabulary: LM_HEAD,
  unused: BUFFERS,
};
const LLAMA_TARGETS = ['q_proj', 'k_proj', 'v_proj', 'o_proj', 'gate_proj', 'up_proj', 'down_proj'];

const likeLlama = (family: string, differs?: Parameters<typeof parseLlama>[1]): Family =>
  named(LLAMA, parseLlama(family, differs), LLAMA_TARGETS);

export const llama = likeLlama('llama');
export const mistral = likeLlama('mistral', { window: 'all' });
export const qwen2 = likeLlama('qwen2', {
  biased: ['query', 'key', 'value'],
  window: 'those of max_window_layers',
});
export const qwen3 = likeLlama('qwen3', {
  queryKeyNorm: true,
  headSize: 128,
  window: 'those of max_window_layers',
});
