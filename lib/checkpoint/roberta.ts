import type { Family, Place } from './families.ts';
import { parseRoberta } from './roberta-config.ts';

const PREFIX = 'roberta.';

/** Modules of the encoder, and what they are called below the prefix. */
const EMBEDDINGS: readonly (readonly [string, string])[] = [
  ['embeddings.word', 'embeddings.word_embeddings'],
  ['embeddings.position', 'embeddings.position_embeddings'],
  ['embeddings.type', 'embeddings.token_type_embeddings'],
  ['embeddings.norm', 'embeddings.LayerNorm'],
];

/** Modules of one layer, below `layers.N.` and below `encoder.layer.N.`. */
const LAYER: readonly (readonly [string, string])[] = [
  ['query', 'attention.self.query'],
  ['key', 'attention.self.key'],
  ['value', 'attention.self.value'],
  ['attention.output', 'attention.output.dense'],
  ['attention.norm', 'attention.output.LayerNorm'],
  ['intermediate', 'intermediate.dense'],
  ['output', 'output.dense'],
  ['output.norm', 'output.LayerNorm'],
];

const HEAD = ['classifier.dense', 'classifier.out_proj'];

const embeddingModules = new Map(EMBEDDINGS);
const layerModules = new Map(LAYER);
const embeddingSites = new Map(EMBEDDINGS.map(([site, module]) => [module, site]));
const layerSites = new Map(LAYER.map(([site, module]) => [module, site]));

/** Tables have one tensor, which needs no name of its own. */
const isTable = (site: string) => embeddingModules.has(site) && site !== 'embeddings.norm';

const bare = (name: string) => (name.startsWith(PREFIX) ? name.slice(PREFIX.length) : name);

function moduleOf(site: string): string | undefined {
  if (HEAD.includes(site)) return site;
  const layer = /^layers\.(0|[1-9]\d*)\.(.+)$/.exec(site);
  if (layer === null) {
    const module = embeddingModules.get(site);
    return module === undefined ? undefined : PREFIX + module;
  }
  const module = layerModules.get(layer[2]!);
  return module === undefined ? undefined : `${PREFIX}encoder.layer.${layer[1]!}.${module}`;
}

function siteOfModule(module: string): string | undefined {
  if (HEAD.includes(module)) return module;
  const name = bare(module);
  const layer = /^encoder\.layer\.(0|[1-9]\d*)\.(.+)$/.exec(name);
  if (layer === null) return embeddingSites.get(name);
  const site = layerSites.get(layer[2]!);
  return site === undefined ? undefined : `layers.${layer[1]!}.${site}`;
}

/** Splits off the last part of a dotted name. */
const split = (name: string): [string, string] => {
  const dot = name.lastIndexOf('.');
  return dot < 0 ? ['', name] : [name.slice(0, dot), name.slice(dot + 1)];
};

function tensorOf(site: string): string | undefined {
  if (isTable(site)) {
    const table = moduleOf(site);
    return table === undefined ? undefined : `${table}.weight`;
  }
  const [owner, leaf] = split(site);
  const module = leaf === 'weight' || leaf === 'bias' ? moduleOf(owner) : undefined;
  return module === undefined || isTable(owner) ? undefined : `${module}.${leaf}`;
}

/** What checkpoints converted from TensorFlow call a norm's weights. */
const OLD_LEAVES = new Map([
  ['gamma', 'weight'],
  ['beta', 'bias'],
]);

function siteOf(name: string): string | undefined {
  const [module, written] = split(name);
  const leaf = module.endsWith('LayerNorm') ? (OLD_LEAVES.get(written) ?? written) : written;
  const owner = siteOfModule(module);
  if (owner === undefined || (leaf !== 'weight' && leaf !== 'bias')) return undefined;
  if (isTable(owner)) return leaf === 'weight' ? owner : undefined;
  return `${owner}.${leaf}`;
}

/** Buffers that are computed anew, and the pooler, which the classification head does without. */
const UNUSED = /^(embeddings\.(position_ids|token_type_ids)$|pooler\.)/;

const isHead = (name: string) => HEAD.some((module) => name.startsWith(`${module}.`));

function placeOf(name: string): Place {
  if (UNUSED.test(bare(name))) return { part: 'ignored' };
  const site = siteOf(name);
  if (site !== undefined) return { part: isHead(name) ? 'head' : 'encoder', site };
  // What is left and outside the encoder belongs to a head of another kind: lm_head, qa_outputs and so on.
  const ours = name.startsWith(PREFIX) || /^(embeddings|encoder)\./.test(name) || isHead(name);
  return { part: ours ? 'unknown' : 'ignored' };
}

type Shapes = [string, number[]][];

const linear = (site: string, output: number, input: number): Shapes => [
  [`${site}.weight`, [output, input]],
  [`${site}.bias`, [output]],
];

const norm = (site: string, width: number): Shapes => [
  [`${site}.weight`, [width]],
  [`${site}.bias`, [width]],
];

export const roberta: Family = {
  parse: parseRoberta,
  placeOf,
  tensorOf,
  moduleOf,
  siteOfModule,

  shapesOf({ layers, hidden, ffn, vocab, positions, typeVocab }) {
    const shapes: Shapes = [
      ['embeddings.word', [vocab, hidden]],
      ['embeddings.position', [positions, hidden]],
      ['embeddings.type', [typeVocab, hidden]],
      ...norm('embeddings.norm', hidden),
    ];
    for (let i = 0; i < layers; i++) {
      const layer = `layers.${i}`;
      for (const site of ['query', 'key', 'value', 'attention.output'])
        shapes.push(...linear(`${layer}.${site}`, hidden, hidden));
      shapes.push(
        ...norm(`${layer}.attention.norm`, hidden),
        ...linear(`${layer}.intermediate`, ffn, hidden),
        ...linear(`${layer}.output`, hidden, ffn),
        ...norm(`${layer}.output.norm`, hidden),
      );
    }
    return new Map(shapes);
  },

  headShapesOf: ({ hidden }, labels) =>
    new Map([
      ...linear('classifier.dense', hidden, hidden),
      ...linear('classifier.out_proj', labels, hidden),
    ]),
};
