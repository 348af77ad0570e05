import type { Family, Place } from './families.ts';
import { type Told, TOLD } from './spec.ts';

export type Pairs = readonly (readonly [site: string, module: string])[];

/** How a family names its modules. */
export interface Names {
  /** How transformers begins the names of its classes. */
  classes: string;
  /** Before the base's modules in a model with a head, such as `roberta.`. */
  prefix: string;
  /** Modules outside of layers, below the prefix. */
  embeddings: Pairs;
  /** Where layers are, such as `encoder.layer`. */
  layers: string;
  /** Modules of one layer. */
  layer: Pairs;
  /** Modules of the heads, by their whole names; one below the prefix is a pooler, part of the base. */
  heads: Partial<Record<Told, Pairs>>;
  /** How the name of the class ends that tells tokens. */
  language: 'ForMaskedLM' | 'ForCausalLM' | 'LMHeadModel';
  /** What tells tokens, by whole names; the first of a site is what transformers writes today. */
  vocabulary?: Pairs;
  /** Sites whose weights are [inputs, outputs] in files. */
  transposed?: readonly string[];
  /** What may stand in place of the prefix in a model without a head, beside nothing. */
  shorter?: readonly string[];
  /** What the engine has no use for, below the prefix. */
  unused: RegExp;
}

/** How transformers ends the names of its classes. */
export const ARCHITECTURES: Record<Told, string> = {
  classes: 'ForSequenceClassification',
  choices: 'ForMultipleChoice',
  tags: 'ForTokenClassification',
  spans: 'ForQuestionAnswering',
};

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

/** A family by its names, and those of one of its heads. */
export function named(
  names: Names,
  parse: Family['parse'],
  targets: readonly string[],
  told: Told = 'classes',
): Family {
  const { prefix, unused, transposed = [], shorter = [] } = names;
  const head = names.heads[told] ?? [];
  const vocabulary = new Map([...(names.vocabulary ?? [])].reverse());
  const vocabularySites = new Map(names.vocabulary?.map(([site, module]) => [module, site]));
  const embeddings = new Map(names.embeddings);
  const embeddingSites = new Map(names.embeddings.map(([site, module]) => [module, site]));
  const layerModules = new Map(names.layer);
  const layerSites = new Map(names.layer.map(([site, module]) => [module, site]));
  const headModules = new Map(head);
  const headSites = new Map(head.map(([site, module]) => [module, site]));
  const layerModule = new RegExp(`^${names.layers.replaceAll('.', '\\.')}\\.(0|[1-9]\\d*)\\.(.+)$`);
  const bare = (name: string) => {
    const start = [prefix, ...shorter].find((each) => name.startsWith(each)) ?? '';
    return name.slice(start.length);
  };

  function moduleOf(site: string): string | undefined {
    if (headModules.has(site)) return headModules.get(site);
    if (vocabulary.has(site)) return vocabulary.get(site);
    const layer = /^layers\.(0|[1-9]\d*)\.(.+)$/.exec(site);
    const module = layer === null ? embeddings.get(site) : layerModules.get(layer[2]!);
    if (module === undefined) return undefined;
    return layer === null ? prefix + module : `${prefix}${names.layers}.${layer[1]!}.${module}`;
  }

  function siteOfModule(module: string): string | undefined {
    const outside = headSites.get(module) ?? headSites.get(prefix + module) ?? vocabularySites.get(module);
    if (outside !== undefined) return outside;
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
    head.some(([, module]) => name.startsWith(`${module}.`) || `${prefix}${name}`.startsWith(`${module}.`));
  const first = [
    ...new Set([...names.embeddings.map(([, module]) => module), names.layers].map((m) => m.split('.')[0]!)),
  ];

  function placeOf(name: string): Place {
    const site = siteOf(name);
    if (site !== undefined) return { part: isHead(name) ? 'head' : 'base', site };
    if (unused.test(bare(name))) return { part: 'ignored' };
    // What is left and outside the base belongs to a head of another kind: lm_head, qa_outputs and so on.
    const ours = name !== bare(name) || first.some((module) => name.startsWith(`${module}.`)) || isHead(name);
    return { part: ours ? 'unknown' : 'ignored' };
  }

  return {
    parse,
    architecture: (what) => names.classes + (what === 'tokens' ? names.language : ARCHITECTURES[what]),
    tells: TOLD.filter((each) => names.heads[each] !== undefined),
    telling: (other) => named(names, parse, targets, other),
    placeOf,
    tensorOf,
    moduleOf,
    siteOfModule,
    targets,
    isTransposed: (site) => {
      const [, inLayer] = /^layers\.\d+\.(.+)\.weight$/.exec(site) ?? [];
      return inLayer !== undefined && transposed.includes(inLayer);
    },
  };
}
