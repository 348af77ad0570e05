import { parseAs } from './bert-config.ts';
import { parseDistilbert } from './distilbert-config.ts';
import type { Family } from './families.ts';
import { named, type Names } from './naming.ts';

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
const OWN_HEAD: Names['head'] = [
  ['classifier.dense', 'classifier.dense'],
  ['classifier.out_proj', 'classifier.out_proj'],
];

const layout = { embeddings: EMBEDDINGS, layers: 'encoder.layer', layer: LAYER };

/** Buffers that are computed anew, and the pooler, which these heads do without. */
const UNUSED = /^(embeddings\.(position_ids|token_type_ids)$|pooler\.)/;
const BUFFERS = /^embeddings\.(position_ids|token_type_ids)$/;

const likeRoberta = (family: string): Family =>
  named(
    { ...layout, prefix: 'roberta.', head: OWN_HEAD, unused: UNUSED },
    parseAs(family, {
      padId: 1,
      positions: 'after pads',
      head: { kind: 'dense', activation: 'tanh', dropoutFirst: true, frozen: false },
    }),
    TARGETS,
  );

export const roberta = likeRoberta('roberta');
export const xlmRoberta = likeRoberta('xlm-roberta');
export const camembert = likeRoberta('camembert');

/** Its pooler is a part of the base: pretrained, and not trained with PEFT. */
export const bert = named(
  {
    ...layout,
    prefix: 'bert.',
    head: [
      ['classifier.dense', 'bert.pooler.dense'],
      ['classifier.out_proj', 'classifier'],
    ],
    unused: BUFFERS,
  },
  parseAs('bert', {
    padId: 0,
    positions: 'from zero',
    head: { kind: 'dense', activation: 'tanh', dropoutFirst: false, frozen: true },
  }),
  TARGETS,
);

export const electra = named(
  {
    ...layout,
    prefix: 'electra.',
    embeddings: [...EMBEDDINGS, ['embeddings.project', 'embeddings_project']],
    head: OWN_HEAD,
    unused: BUFFERS,
  },
  parseAs('electra', {
    padId: 0,
    positions: 'from zero',
    projected: true,
    head: { kind: 'dense', activation: 'gelu', dropoutFirst: true, frozen: false },
  }),
  TARGETS,
);

export const distilbert = named(
  {
    prefix: 'distilbert.',
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
    head: [
      ['classifier.dense', 'pre_classifier'],
      ['classifier.out_proj', 'classifier'],
    ],
    unused: BUFFERS,
  },
  parseDistilbert,
  ['q_lin', 'k_lin', 'v_lin', 'out_lin', 'lin1', 'lin2'],
);
