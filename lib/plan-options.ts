import type { EncodedExample } from './data/batches.ts';
import { LightPeftError } from './errors.ts';
import { flagOf, type Settings } from './options.ts';
import { operationCosts, parameterCosts } from './plan/costs.ts';
import type { PlanOptions } from './plan/plan.ts';
import type { Workbench } from './workbench.ts';

/** What stays where nothing is said of it. */
const TARGET_PARAMETERS = 0.6;
const TARGET_PEFT = 0.25;
const ROUND_TO = 16;

/** The names of those that are set. */
const set = (settings: Settings, ...names: (keyof Settings)[]) =>
  names.filter((name) => settings[name] !== undefined);

function exclude(some: (keyof Settings)[], others: (keyof Settings)[]): void {
  const [one, other] = [some[0], others[0]];
  if (one !== undefined && other !== undefined)
    throw new LightPeftError('BAD_OPTION', `${flagOf(one)} and ${flagOf(other)} exclude each other`);
}

/**
 * How the settings want the cut to be made: heads and neurons to a target or by ratios, and modules and ranks likewise.
 * @throws {LightPeftError} BAD_OPTION: two ways at once
 */
export function planOptions(
  { settings, checkpoint: { spec } }: Pick<Workbench, 'settings' | 'checkpoint'>,
  examples: readonly EncodedExample[],
): PlanOptions {
  const { targetParameters, targetFlops, targetPeft, depth, protect } = settings;
  const roundTo = settings.roundTo ?? ROUND_TO;
  const unitRatios = set(settings, 'headRatio', 'neuronRatio', 'headScope', 'neuronScope');
  const rankRatios = set(settings, 'moduleRatio', 'rankRatio');
  exclude(set(settings, 'targetParameters'), set(settings, 'targetFlops'));
  exclude(set(settings, 'targetParameters', 'targetFlops', 'roundTo'), unitRatios);
  exclude(set(settings, 'targetPeft'), rankRatios);
  const lengths = () => examples.map(({ ids }) => ids.length);
  const budget = (): PlanOptions['budget'] => {
    if (targetFlops !== undefined)
      return { of: 'flops', keep: targetFlops, costs: operationCosts(spec, lengths()), roundTo };
    const keep = targetParameters ?? TARGET_PARAMETERS;
    return { of: 'parameters', keep, costs: parameterCosts(spec), roundTo };
  };
  return {
    ...(unitRatios.length === 0 && { budget: budget() }),
    ...(rankRatios.length === 0 && {
      peft: {
        keep: targetPeft ?? TARGET_PEFT,
        sizes: { hidden: spec.hidden, headSize: spec.headSize },
      },
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
