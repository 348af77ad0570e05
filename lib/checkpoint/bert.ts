import { parseAs } from './bert-config.ts';
import { parseDistilbert } from './distilbert-config.ts';
import type { Family } from './families.ts';
import { denseHead, tokenHeads } from './encoder-config.ts';
import { named, type Names, type Pairs } from './naming.ts';

const EMBEDDINGS: Names['embeddings'] = [
  ['embeddings.word', 'embeddings.word_embeddings'],
  ['embeddings.position', 'embeddings.position_embeddings'],
  ['embeddings.type', 'embeddings.token_type_embeddings'],
  ['embeddings.norm', 'embeddings.LayerNorm'],
];

const LAYER: Names['layer'] = [
  ['query', 'attention.self.query'],
  ['key', 'attention.self.key'],
  ['value', 'attention.self.value'],
  ['attention.output', 'attention.output.dense'],
  ['attention.norm', 'attention.output.LayerNorm'],
  ['intermediate', 'intermediate.dense'],
  ['output', 'output.dense'],
  ['output.norm', 'output.LayerNorm'],
];

const TARGETS = ['query', 'key', 'value', 'attention.output.dense', 'intermediate.dense', 'output.dense'];

/** Dense and projection within the classifier. */
const OWN_HEAD: Pairs = [
  ['classifier.dense', 'classifier.dense'],
  ['classifier.out_proj', 'classifier.out_proj'],
];
/** Dense layer and projection of these names. */
const headed = (dense: string): Pairs => [
  ['classifier.dense', dense],
  ['classifier.out_proj', 'classifier'],
];
const TOKEN_HEADS: Names['heads'] = {
  tags: [['classifier.out_proj', 'classifier']],
  spans: [['classifier.out_proj', 'qa_outputs']],
};

/** What tells masked tokens. */
const masked = (dense: string, norm: string, table: string): Pairs => [
  ['vocabulary.dense', dense],
  ['vocabulary.norm', norm],
  ['vocabulary', table],
];

const layout = { embeddings: EMBEDDINGS, layers: 'encoder.layer', layer: LAYER };

/** Buffers that are computed anew, and a pooler, where a head does without. */
const UNUSED = /^(embeddings\.(position_ids|token_type_ids)$|pooler\.)/;
const BUFFERS = /^embeddings\.(position_ids|token_type_ids)$/;

const likeRoberta = (family: string, classes: string): Family =>
  named(
    {
      ...layout,
      ...{ classes, language: 'ForMaskedLM' as const, prefix: 'roberta.' },
      heads: { classes: OWN_HEAD, choices: headed('roberta.pooler.dense'), ...TOKEN_HEADS },
      vocabulary: masked('lm_head.dense', 'lm_head.layer_norm', 'lm_head'),
      unused: UNUSED,
    },
    parseAs(family, {
      padId: 1,
      positions: 'after pads',
      heads: ({ classifier, hidden }) => ({
        classes: { head: denseHead('tanh', { dropoutFirst: true }), headDropout: classifier },
        choices: { head: denseHead('tanh', { frozen: true }), headDropout: hidden },
        ...tokenHeads(classifier, 0),
      }),
      vocabularyActivation: 'gelu',
    }),
    TARGETS,
  );

export const roberta = likeRoberta('roberta', 'Roberta');
export const xlmRoberta = likeRoberta('xlm-roberta', 'XLMRoberta');
export const camembert = likeRoberta('camembert', 'Camembert');

/** Its pooler is a part of the base: pretrained, and not trained with PEFT. */
export const bert = named(
  {
    ...layout,
    ...{ classes: 'Bert', language: 'ForMaskedLM' as const, prefix: 'bert.' },
    heads: {
      classes: headed('bert.pooler.dense'),
      choices: headed('bert.pooler.dense'),
      ...TOKEN_HEADS,
    },
    vocabulary: masked(
      'cls.predictions.transform.dense',
      'cls.predictions.transform.LayerNorm',
      'cls.predictions',
    ),
    unused: UNUSED,
  },
  parseAs('bert', {
    padId: 0,
    positions: 'from zero',
    heads: ({ classifier }) => {
      const pooled = { head: denseHead('tanh', { frozen: true }), headDropout: classifier };
      return { classes: pooled, choices: pooled, ...tokenHeads(classifier, 0) };
    },
  }),
  TARGETS,
);

export const electra = named(
  {
    ...layout,
    ...{ classes: 'Electra', language: 'ForMaskedLM' as const, prefix: 'electra.' },
    embeddings: [...EMBEDDINGS, ['embeddings.project', 'embeddings_project']],
    heads: { classes: OWN_HEAD, choices: headed('sequence_summary.summary'), ...TOKEN_HEADS },
    vocabulary: masked('generator_predictions.dense', 'generator_predictions.LayerNorm', 'generator_lm_head'),
    unused: BUFFERS,
  },
  parseAs('electra', {
    padId: 0,
    positions: 'from zero',
    projected: true,
    heads: ({ classifier, summary }) => ({
      classes: { head: denseHead('gelu', { dropoutFirst: true }), headDropout: classifier },
      choices: { head: denseHead(summary.activation), headDropout: summary.dropout },
      ...tokenHeads(classifier, 0),
    }),
    vocabularyActivation: 'gelu',
  }),
  TARGETS,
);

export const distilbert = named(
  {
    ...{ classes: 'DistilBert', language: 'ForMaskedLM' as const, prefix: 'distilbert.' },
    embeddings: EMBEDDINGS.filter(([site]) => site !== 'embeddings.type'),
    layers: 'transformer.layer',
    layer: [
      ['query', 'attention.q_lin'],
      ['key', 'attention.k_lin'],
      ['value', 'attention.v_lin'],
      ['attention.output', 'attention.out_lin'],
      ['attention.norm', 'sa_layer_norm'],
      ['intermediate', 'ffn.lin1'],
      ['output', 'ffn.lin2'],
      ['output.norm', 'output_layer_norm'],
    ],
    heads: { classes: headed('pre_classifier'), choices: headed('pre_classifier'), ...TOKEN_HEADS },
    vocabulary: masked('vocab_transform', 'vocab_layer_norm', 'vocab_projector'),
    unused: BUFFERS,
  },
  parseDistilbert,
  ['q_lin', 'k_lin', 'v_lin', 'out_lin', 'lin1', 'lin2'],
);
