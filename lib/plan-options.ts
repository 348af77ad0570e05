import type { EncodedExample } from './data/batches.ts';
import { LightPeftError } from './errors.ts';
import { operationCosts, parameterCosts } from './plan/costs.ts';
import type { PlanOptions } from './plan/plan.ts';
import type { Workbench } from './workbench.ts';

/**
 * How the settings want the cut to be made.
 * @throws {LightPeftError} BAD_OPTION: two targets
 */
export function planOptions(
  { settings, checkpoint: { spec } }: Pick<Workbench, 'settings' | 'checkpoint'>,
  examples: readonly EncodedExample[],
): PlanOptions {
  const { targetParameters, targetFlops, targetPeft, depth, roundTo, protect } = settings;
  if (targetParameters !== undefined && targetFlops !== undefined)
    throw new LightPeftError('BAD_OPTION', '--target-parameters and --target-flops exclude each other');
  const lengths = () => examples.map(({ ids }) => ids.length);
  const budget =
    targetParameters !== undefined
      ? { of: 'parameters' as const, keep: targetParameters, costs: parameterCosts(spec), roundTo }
      : targetFlops !== undefined
        ? { of: 'flops' as const, keep: targetFlops, costs: operationCosts(spec, lengths()), roundTo }
        : undefined;
  return {
    ...(budget && { budget }),
    ...(targetPeft !== undefined && {
      peft: { keep: targetPeft, sizes: { hidden: spec.hidden, headSize: spec.headSize } },
    }),
    depth,
    protect,
    ratios: {
      heads: settings.headRatio,
      neurons: settings.neuronRatio,
      modules: settings.moduleRatio,
      ranks: settings.rankRatio,
    },
    scopes: { heads: settings.headScope, neurons: settings.neuronScope },
  };
}
