import type { Spec } from '../checkpoint/spec.ts';
import { MEASURES } from '../native.ts';
import type { Estimate } from './estimate-file.ts';
import type { ModulePlace } from './scores.ts';

/** What an estimate must fit. */
export interface Fitted {
  /** The base's. */
  spec: Pick<Spec, 'layers' | 'heads' | 'group' | 'headSize' | 'ffn'>;
  /** Of the adapter beside it, in the order of the base. */
  modules: readonly (ModulePlace & { rank: number })[];
}

type Measured = Pick<Estimate, 'masks' | 'measures' | 'modules'>;

/** Whether a measure is missing of a part that is there; each part has as many values as the others. */
const lacks = (there: Float32Array, values: Float32Array): boolean => {
  const each = values.length / there.length;
  return values.some((value, i) => Number.isNaN(value) && !Number.isNaN(there[Math.floor(i / each)]));
};

const nothingIn = (all: Float32Array[]): boolean =>
  all.every((values) => values.every((value) => Number.isNaN(value)));

/** Parts that are gone have no mask. */
function unitMisfit({ masks, measures }: Measured, { spec }: Fitted): string | undefined {
  const { layers, heads, group, headSize, ffn } = spec;
  const kinds = {
    head: { there: masks.heads, size: heads },
    context: { there: masks.heads, size: heads * group * headSize },
    neuron: { there: masks.neurons, size: ffn },
  };
  const kindOf = (name: string) =>
    (Object.keys(kinds) as (keyof typeof kinds)[]).find((k) => name.startsWith(k));
  const found = [
    { name: 'masks.heads', values: masks.heads, ...kinds.head },
    { name: 'masks.neurons', values: masks.neurons, ...kinds.neuron },
    ...MEASURES.flatMap((name) => {
      const kind = kindOf(name);
      return kind ? [{ name, values: measures[name], ...kinds[kind] }] : [];
    }),
  ];
  for (const { name, values, there, size } of found) {
    if (values.length !== layers) return `${name} is there ${values.length} times, not ${layers}`;
    for (const [l, ofLayer] of values.entries()) {
      if (ofLayer.length !== size) return `${name}.${l} has ${ofLayer.length} values, not ${size}`;
      if (lacks(there[l]!, ofLayer)) return `${name}.${l} lacks the measure of a part that is there`;
    }
  }
  return nothingIn([...masks.heads, ...masks.neurons]) ? 'nothing is scored' : undefined;
}

function moduleMisfit({ measures, modules }: Measured, fitted: Fitted): string | undefined {
  const same = modules.every(({ name, layer, site }, i) => {
    const other = fitted.modules[i];
    return name === other?.name && layer === other.layer && site === other.site;
  });
  if (!same || modules.length !== fitted.modules.length)
    return 'its modules are not those of the adapter beside it';
  for (const name of ['ratios', 'ranks', 'rankTaylor'] as const)
    if (measures[name].length !== modules.length)
      return `${name} is there ${measures[name].length} times, not ${modules.length}`;
  for (const [i, { name, rank }] of fitted.modules.entries()) {
    const [ratios, ranks, taylor] = [measures.ratios[i]!, measures.ranks[i]!, measures.rankTaylor[i]!];
    if (ratios.length !== 1 || [ranks, taylor].some(({ length }) => length !== rank))
      return `the measures of ${name} are of other sizes than the module`;
    if (lacks(taylor, ranks) || lacks(ranks, taylor)) return `${name} is measured in part`;
  }
  return nothingIn(measures.rankTaylor) ? 'nothing is scored' : undefined;
}

/** What of an estimate is not as its base and the adapter beside it have it. */
export const misfitOf = (measured: Measured, fitted: Fitted): string | undefined =>
  unitMisfit(measured, fitted) ?? moduleMisfit(measured, fitted);
