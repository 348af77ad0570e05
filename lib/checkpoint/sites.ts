import { LightPeftError } from '../errors.ts';
import type { Config } from './config.ts';
import type { Family } from './families.ts';
import { isFloat } from './float.ts';
import type { TensorInfo } from './safetensors.ts';
import { baseShapes, headShapes, vocabularyShapes } from './shapes.ts';

/** A weight of the base. */
export interface BaseTensor extends TensorInfo {
  /** Whether the file has [inputs, outputs]. */
  transposed: boolean;
}

export interface Sites {
  tensors: Map<string, BaseTensor>;
  head: Map<string, HeadTensor>;
  ignored: string[];
}

export interface HeadTensor extends TensorInfo {
  /** In its file. */
  name: string;
}

const bad = (message: string) => new LightPeftError('BAD_CHECKPOINT', message);

const MOST_NAMED = 8;

const listed = (names: readonly string[]): string => {
  const more = names.length - MOST_NAMED;
  return names.slice(0, MOST_NAMED).join(', ') + (more > 0 ? ` and ${more} more` : '');
};

const shown = (shape: readonly number[]) => `[${shape.join(', ')}]`;

/** Sorts the tensors by what they are. Several that are unknown are told together. */
function sort(
  folder: string,
  family: Family,
  found: ReadonlyMap<string, TensorInfo>,
  known: ReadonlySet<string>,
  optional: ReadonlySet<string>,
  isAnothers: (name: string, site: string | undefined) => boolean,
) {
  const sites: Sites = { tensors: new Map(), head: new Map(), ignored: [] };
  const names = new Map<string, string>();
  const unknown: string[] = [];
  for (const [name, info] of found) {
    const place = family.placeOf(name);
    const unneeded = 'site' in place && optional.has(place.site) && !known.has(place.site);
    if (place.part === 'ignored' || unneeded || isAnothers(name, 'site' in place ? place.site : undefined))
      sites.ignored.push(name);
    else if (!('site' in place) || !known.has(place.site)) unknown.push(name);
    else {
      const { part, site } = place;
      if (names.has(site)) throw bad(`${folder}: ${names.get(site)!} and ${name} are the same weight`);
      names.set(site, name);
      if (part === 'head') sites.head.set(site, { ...info, name });
      else sites.tensors.set(site, { ...info, transposed: family.isTransposed(site) });
    }
  }
  sites.ignored.sort();
  return { sites, unknown: unknown.sort(), names };
}

type Shapes = ReadonlyMap<string, readonly number[]>;

/** The order is the family's, so that two checkpoints of one kind list their sites alike. */
function inOrder<T>(tensors: Map<string, T>, shapes: Shapes): Map<string, T> {
  return new Map(
    [...shapes.keys()].filter((site) => tensors.has(site)).map((site) => [site, tensors.get(site)!]),
  );
}

/** What a file may have of tokens' logits, needed or not. */
const VOCABULARY: ReadonlySet<string> = new Set(['vocabulary.weight', 'vocabulary.bias']);

/**
 * Finds each weight of the base, and of its head if there is one.
 * @throws {LightPeftError} BAD_CHECKPOINT naming the weights that are missing, unknown or misshapen
 */
export function findSites(folder: string, config: Config, found: ReadonlyMap<string, TensorInfo>): Sites {
  const { family, spec, own, labels } = config;
  // A model that tells classes has nothing to tell the next token.
  const vocabulary = vocabularyShapes(spec);
  const base = baseShapes(spec);
  // Without names for the classes, the head itself says how many there are.
  const known = new Set([...base.keys(), ...vocabulary.keys(), ...headShapes(spec, 1).keys()]);
  // The checkpoint's own head may tell something else; its pooler, which is a part of the base, may serve.
  const theirs = own === null || spec.told === own ? undefined : family.telling(own);
  const isAnothers = (name: string, site: string | undefined) =>
    theirs?.placeOf(name).part === 'head' && !(spec.head.frozen && site?.startsWith('classifier.dense.'));
  const { sites, unknown, names } = sort(folder, family, found, known, VOCABULARY, isAnothers);
  const whole = [...vocabulary.keys()].every((site) => sites.tensors.has(site));
  if (whole || sites.tensors.has('vocabulary.weight'))
    for (const [site, shape] of vocabulary) base.set(site, shape);
  // A part of it tells nothing.
  else
    for (const site of vocabulary.keys())
      if (sites.tensors.delete(site)) sites.ignored.push(names.get(site)!);
  const rows = sites.head.get('classifier.out_proj.weight')?.shape[0];
  // Names of classes say nothing of what is told of texts and spans.
  const outputs = { choices: 1, spans: 2 }[spec.told as string] ?? labels?.length ?? rows ?? 1;
  const head = headShapes(spec, outputs);

  // A part of a head is of no use, and none at all is the rule; but a pooler may stand alone.
  const pooler = sites.head.size > 0 && rows === undefined && spec.head.frozen;
  const parts = [...head].filter(([site]) => !pooler || site.startsWith('classifier.dense.'));
  const expected = new Map(sites.head.size > 0 ? [...base, ...parts] : base);
  const missing = [...expected.keys()]
    .filter((site) => !names.has(site))
    .map((site) => family.tensorOf(site) ?? site);
  const told = [];
  if (missing.length > 0) told.push(`weights are missing: ${listed(missing)}`);
  if (unknown.length > 0) told.push(`weights are unknown: ${listed(unknown)}`);
  if (told.length > 0) throw bad(`${folder}: ${told.join('; ')}`);

  const wrong: string[] = [];
  for (const [site, shape] of expected) {
    const { dtype, shape: has } = sites.tensors.get(site) ?? sites.head.get(site)!;
    const name = names.get(site)!;
    if (!isFloat(dtype)) wrong.push(`${name} is of ${dtype}, which is not a dtype of weights`);
    else {
      const wanted = family.isTransposed(site) ? [...shape].reverse() : shape;
      if (shown(has) !== shown(wanted))
        wrong.push(`${name} is ${shown(has)} where config.json says ${shown(wanted)}`);
    }
  }
  if (wrong.length > 0) throw bad(`${folder}: ${listed(wrong)}`);
  return { ...sites, tensors: inOrder(sites.tensors, base), head: inOrder(sites.head, head) };
}
