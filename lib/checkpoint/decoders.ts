import { z } from 'zod';
import {
  type Parse,
  parseBloom,
  parseGpt2,
  parseGptJ,
  parseGptNeo,
  parseGptNeoX,
  parseLlama,
  parseOpt,
} from './decoder-config.ts';
import { probability } from './encoder-config.ts';
import type { Family } from './families.ts';
import { named, type Names, type Pairs } from './naming.ts';
import { parseFields } from './parse-fields.ts';

const only = (module: string): Pairs => [['classifier.out_proj', module]];
/** What transformers has heads for, or would have them for by the same names. */
const HEADS: Names['heads'] = { classes: only('score'), choices: only('score'), spans: only('qa_outputs') };
const LM_HEAD: Pairs = [['vocabulary', 'lm_head']];

/** transformers 5 calls it so in some families. */
const CLASSIFIED: Names['heads'] = { ...HEADS, tags: only('classifier') };
const UNSPANNED: Names['heads'] = { classes: only('score'), choices: only('score'), tags: only('score') };

/** Projections alone; what tells tokens and spans has a bias, and of tokens some values are dropped. */
const headed =
  (parse: Parse): Family['parse'] =>
  (config, file, told) => {
    const { classifier_dropout, hidden_dropout } = parseFields(DROPOUTS, config, file);
    const bias = told === 'tags' || told === 'spans';
    const spec = parse(config, file);
    return {
      ...spec,
      told,
      head: { ...spec.head, bias },
      headDropout: told === 'tags' ? (classifier_dropout ?? hidden_dropout ?? 0.1) : 0,
    };
  };
const DROPOUTS = z.object({
  classifier_dropout: probability.nullish(),
  hidden_dropout: probability.nullish(),
});

/** Causal masks and angles, which old files keep. */
const BUFFERS = /(^|\.)(rotary_emb\.inv_freq|attn\.(attention\.)?(masked_)?bias|attention\.(masked_)?bias)$/;

export const gpt2 = named(
  {
    ...{ classes: 'GPT2', language: 'LMHeadModel' as const },
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
    heads: CLASSIFIED,
    vocabulary: LM_HEAD,
    unused: BUFFERS,
    // OpenAI's convolutions of width 1 have their weights the other way round.
    transposed: ['qkv', 'attention.output', 'intermediate', 'output'],
  },
  headed(parseGpt2),
  ['c_attn', 'c_proj', 'c_fc'],
);

export const gptNeo = named(
  {
    ...{ classes: 'GPTNeo', language: 'ForCausalLM' as const },
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
    heads: CLASSIFIED,
    vocabulary: LM_HEAD,
    unused: BUFFERS,
  },
  headed(parseGptNeo),
  ['q_proj', 'k_proj', 'v_proj', 'out_proj', 'c_fc', 'c_proj'],
);

export const gptJ = named(
  {
    ...{ classes: 'GPTJ', language: 'ForCausalLM' as const },
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
    heads: HEADS,
    vocabulary: LM_HEAD,
    unused: BUFFERS,
  },
  headed(parseGptJ),
  ['q_proj', 'k_proj', 'v_proj', 'out_proj', 'fc_in', 'fc_out'],
);

export const gptNeoX = named(
  {
    ...{ classes: 'GPTNeoX', language: 'ForCausalLM' as const },
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
    heads: CLASSIFIED,
    vocabulary: [...LM_HEAD, ['vocabulary', 'embed_out']],
    unused: BUFFERS,
  },
  headed(parseGptNeoX),
  ['query_key_value', 'attention.dense', 'dense_h_to_4h', 'dense_4h_to_h'],
);

export const bloom = named(
  {
    ...{ classes: 'Bloom', language: 'ForCausalLM' as const },
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
    heads: CLASSIFIED,
    vocabulary: LM_HEAD,
    unused: BUFFERS,
  },
  headed(parseBloom),
  ['query_key_value', 'self_attention.dense', 'dense_h_to_4h', 'dense_4h_to_h'],
);

export const opt = named(
  {
    ...{ classes: 'OPT', language: 'ForCausalLM' as const },
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
    heads: HEADS,
    vocabulary: LM_HEAD,
    unused: /^version$/,
  },
  headed(parseOpt),
  ['q_proj', 'k_proj', 'v_proj', 'out_proj', 'fc1', 'fc2'],
);

const LLAMA: Omit<Names, 'heads' | 'classes'> = {
  language: 'ForCausalLM',
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
  vocabulary: LM_HEAD,
  unused: BUFFERS,
};
const LLAMA_TARGETS = ['q_proj', 'k_proj', 'v_proj', 'o_proj', 'gate_proj', 'up_proj', 'down_proj'];

/** What tells spans has another prefix before the base in some of them, and is left out there. */
const likeLlama = (
  family: string,
  classes: string,
  differs?: Parameters<typeof parseLlama>[1],
  heads: Names['heads'] = UNSPANNED,
): Family => named({ ...LLAMA, classes, heads }, headed(parseLlama(family, differs)), LLAMA_TARGETS);

export const llama = likeLlama('llama', 'Llama');
export const mistral = likeLlama('mistral', 'Mistral', { window: 'all' }, { ...UNSPANNED, ...HEADS });
export const qwen2 = likeLlama('qwen2', 'Qwen2', {
  biased: ['query', 'key', 'value'],
  window: 'those of max_window_layers',
});
export const qwen3 = likeLlama('qwen3', 'Qwen3', {
  queryKeyNorm: true,
  headSize: 128,
  window: 'those of max_window_layers',
});
