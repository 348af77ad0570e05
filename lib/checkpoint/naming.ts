import type { Family, Place } from './families.ts';
import type { Spec } from './spec.ts';

type Pairs = readonly (readonly [site: string, module: string])[];

/** How a family names its modules. */
export interface Names {
  /** Before the encoder's modules in a model with a head, such as `roberta.`. */
  prefix: string;
  /** Modules outside of layers, below the prefix. */
  embeddings: Pairs;
  /** Where layers are, such as `encoder.layer`. */
  layers: string;
  /** Modules of one layer. */
  layer: Pairs;
  /** Modules of the classification head, by their whole names; one below the prefix is a pooler, part of the base. */
  head: Pairs;
  /** What the engine has no use for, below the prefix. */
  unused: RegExp;
}

type Shapes = [string, number[]][];

const TABLES: readonly string[] = ['embeddings.word', 'embeddings.position', 'embeddings.type'];

/** What checkpoints converted from TensorFlow call a norm's weights. */
const OLD_LEAVES = new Map([
  ['gamma', 'weight'],
  ['beta', 'bias'],
]);

/** Splits off the last part of a dotted name. */
const split = (name: string): [string, string] => {
  const dot = name.lastIndexOf('.');
  return dot < 0 ? ['', name] : [name.slice(0, dot), name.slice(dot + 1)];
};

const linear = (site: string, output: number, input: number): Shapes => [
  [`${site}.weight`, [output, input]],
  [`${site}.bias`, [output]],
];

const norm = (site: string, width: number): Shapes => [
  [`${site}.weight`, [width]],
  [`${site}.bias`, [width]],
];

function encoderShapes(spec: Spec): Map<string, number[]> {
  const { layers, hidden, embedding, ffn, vocab, positions, typeVocab } = spec;
  const shapes: Shapes = [
    ['embeddings.word', [vocab, embedding]],
    ['embeddings.position', [positions, embedding]],
    ...(typeVocab > 0 ? ([['embeddings.type', [typeVocab, embedding]]] satisfies Shapes) : []),
    ...norm('embeddings.norm', embedding),
    ...(embedding === hidden ? [] : linear('embeddings.project', hidden, embedding)),
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
}

/** A family of BERT's shape, by its names. */
export function named(names: Names, parse: Family['parse'], targets: readonly string[]): Family {
  const { prefix, unused } = names;
  const embeddings = new Map(names.embeddings);
  const embeddingSites = new Map(names.embeddings.map(([site, module]) => [module, site]));
  const layerModules = new Map(names.layer);
  const layerSites = new Map(names.layer.map(([site, module]) => [module, site]));
  const headModules = new Map(names.head);
  const headSites = new Map(names.head.map(([site, module]) => [module, site]));
  const layerModule = new RegExp(`^${names.layers.replaceAll('.', '\\.')}\\.(0|[1-9]\\d*)\\.(.+)$`);
  const bare = (name: string) => (name.startsWith(prefix) ? name.slice(prefix.length) : name);

  function moduleOf(site: string): string | undefined {
    if (headModules.has(site)) return headModules.get(site);
    const layer = /^layers\.(0|[1-9]\d*)\.(.+)$/.exec(site);
    const module = layer === null ? embeddings.get(site) : layerModules.get(layer[2]!);
    if (module === undefined) return undefined;
    return layer === null ? prefix + module : `${prefix}${names.layers}.${layer[1]!}.${module}`;
  }

  function siteOfModule(module: string): string | undefined {
    const head = headSites.get(module) ?? headSites.get(prefix + module);
    if (head !== undefined) return head;
    const name = bare(module);
    const layer = layerModule.exec(name);
    if (layer === null) return embeddingSites.get(name);
    const site = layerSites.get(layer[2]!);
    return site === undefined ? undefined : `layers.${layer[1]!}.${site}`;
  }

  function tensorOf(site: string): string | undefined {
    if (TABLES.includes(site)) {
      const table = moduleOf(site);
      return table === undefined ? undefined : `${table}.weight`;
    }
    const [owner, leaf] = split(site);
    const module = leaf === 'weight' || leaf === 'bias' ? moduleOf(owner) : undefined;
    return module === undefined || TABLES.includes(owner) ? undefined : `${module}.${leaf}`;
  }

  function siteOf(name: string): string | undefined {
    const [module, written] = split(name);
    const leaf = /layer_?norm$/i.test(module) ? (OLD_LEAVES.get(written) ?? written) : written;
    const owner = siteOfModule(module);
    if (owner === undefined || (leaf !== 'weight' && leaf !== 'bias')) return undefined;
    if (TABLES.includes(owner)) return leaf === 'weight' ? owner : undefined;
    return `${owner}.${leaf}`;
  }

  const isHead = (name: string) =>
    names.head.some(
      ([, module]) => name.startsWith(`${module}.`) || `${prefix}${name}`.startsWith(`${module}.`),
    );
  const first = [
    ...new Set([...names.embeddings.map(([, module]) => module), names.layers].map((m) => m.split('.')[0]!)),
  ];

  function placeOf(name: string): Place {
    if (unused.test(bare(name))) return { part: 'ignored' };
    const site = siteOf(name);
    if (site !== undefined) return { part: isHead(name) ? 'head' : 'encoder', site };
    // What is left and outside the encoder belongs to a head of another kind: lm_head, qa_outputs and so on.
    const ours =
      name.startsWith(prefix) || first.some((module) => name.startsWith(`${module}.`)) || isHead(name);
    return { part: ours ? 'unknown' : 'ignored' };
  }

  return {
    parse,
    placeOf,
    tensorOf,
    moduleOf,
    siteOfModule,
    targets,
    shapesOf: encoderShapes,
    headShapesOf: ({ hidden }, labels) =>
      new Map([
        ...linear('classifier.dense', hidden, hidden),
        ...linear('classifier.out_proj', labels, hidden),
      ]),
  };
}
