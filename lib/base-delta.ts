import { type Adapter, compensation } from './adapter/compensation.ts';
import { type BaseDelta, foldedMasks } from './adapter/delta.ts';
import { LightPeftError } from './errors.ts';
import type { Estimate } from './plan/estimate-file.ts';
import { trainsMasks } from './plan/estimators.ts';
import type { Plan } from './plan/plan.ts';
import type { Workbench } from './workbench.ts';

/** How many heads and neurons a Plan keeps that an earlier cut had taken before the estimation. */
export const returning = (plan: Plan, { masks }: Estimate): number =>
  plan.layers.reduce((sum, { heads, neurons }, l) => {
    const gone = (kept: number[], values: Float32Array) => kept.filter((i) => Number.isNaN(values[i])).length;
    return sum + gone(heads, masks.heads[l]!) + gone(neurons, masks.neurons[l]!);
  }, 0);

/**
 * What a Plan changes in what is left of the base.
 * @param compensate whether means of what is cut go into the biases
 */
export async function scalesAndMeans(
  bench: Workbench,
  plan: Plan,
  estimate: Estimate,
  adapter: Adapter,
  compensate: boolean,
): Promise<BaseDelta | null> {
  const { foldMasks } = bench.settings;
  const learned = trainsMasks(estimate.estimator);
  const bad = (message: string) => new LightPeftError('BAD_OPTION', message);
  if (foldMasks && !learned)
    throw bad(`--fold-masks: the estimation was run for ${estimate.estimator}, which trains no masks`);
  if (compensate && learned && !foldMasks)
    throw bad('--compensate mean: they were measured with trained masks, and need --fold-masks to be right');
  if (foldMasks && returning(plan, estimate) > 0)
    throw bad('--fold-masks: the cut keeps what was gone before the estimation, and has no mask for it');
  const delta = new Map([
    ...(foldMasks ? foldedMasks(plan, estimate.masks) : []),
    ...(compensate ? await compensation(plan, estimate.measures, bench, adapter) : []),
  ]);
  return delta.size > 0 ? delta : null;
}
