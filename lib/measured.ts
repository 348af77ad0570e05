import type { Session } from './engine.ts';
import { MEASURES, type Measures, type RawScores } from './native.ts';
import type { Estimate } from './plan/estimate-file.ts';
import { estimatorOf, moduleEstimatorOf } from './plan/estimators.ts';
import type { Smaller } from './smaller.ts';
import type { Workbench } from './workbench.ts';

/** A copy with the kept places, `each` values wide, set to what was measured of them. */
function placed(
  into: Float32Array,
  kept: readonly number[],
  values: Float32Array,
  each: number,
): Float32Array {
  const whole = into.slice();
  kept.forEach((place, i) => whole.set(values.subarray(i * each, (i + 1) * each), place * each));
  return whole;
}

const nothing = ({ length }: ArrayLike<unknown>) => new Float32Array(length).fill(NaN);

/**
 * What was measured of the smaller model in the places that its parts have in the whole one. Of parts that are gone
 * the masks and the measures of modules and ranks are NaN; what else was measured of them before stays, as their means are wanted still.
 */
function inPlace(
  { masks, measures }: Estimate,
  {
    plan,
    modules,
    raw,
  }: {
    plan: Smaller['plan'];
    modules: Estimate['modules'];
    raw: RawScores;
  },
): Pick<Estimate, 'masks' | 'measures'> {
  const unitsOf = {
    heads: plan.layers.map(({ heads }) => heads),
    neurons: plan.layers.map(({ neurons }) => neurons),
  };
  const byLayer = (name: (typeof MEASURES)[number]) => {
    const kind = name.startsWith('neuron') ? 'neurons' : 'heads';
    return measures[name].map((before, l) => {
      const each = before.length / masks[kind][l]!.length;
      return placed(before, unitsOf[kind][l]!, raw.measures[name][l]!, each);
    });
  };
  const found = new Map(plan.modules.map(({ name, ranks }, i) => [name, { ranks, i }]));
  const byModule = (name: 'ratios' | 'ranks' | 'rankTaylor') =>
    modules.map((module, m) => {
      const before = nothing(measures[name][m]!);
      const kept = found.get(module.name);
      if (!kept) return before;
      const places = name === 'ratios' ? [0] : kept.ranks;
      return placed(before, places, raw.measures[name][kept.i]!, 1);
    });
  const newMasks = (kind: 'heads' | 'neurons') =>
    masks[kind].map((before, l) => placed(nothing(before), unitsOf[kind][l]!, raw[kind][l]!, 1));
  return {
    masks: { heads: newMasks('heads'), neurons: newMasks('neurons') },
    measures: Object.fromEntries(
      MEASURES.map((name) => [
        name,
        name === 'ratios' || name === 'ranks' || name === 'rankTaylor' ? byModule(name) : byLayer(name),
      ]),
    ) as Measures,
  };
}

/** What an estimation has measured so far, in the shapes of the whole base. */
export async function measured(bench: Workbench, session: Session, smaller?: Smaller): Promise<Estimate> {
  const { settings, checkpoint } = bench;
  const raw = await session.scores();
  const { steps, heads, neurons, measures } = raw;
  const modules = smaller
    ? smaller.estimate.modules
    : session.modules.map(({ name, layer, site }) => ({ name, layer, site }));
  return {
    ...{ fingerprint: checkpoint.fingerprint, tokenizer: bench.tokenizer.fingerprint, steps, modules },
    ...{ estimator: estimatorOf(settings), moduleEstimator: moduleEstimatorOf(settings) },
    ...(smaller
      ? inPlace(smaller.estimate, { plan: smaller.plan, modules, raw })
      : { masks: { heads, neurons }, measures }),
  };
}
