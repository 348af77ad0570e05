import type { EncodedExample } from './data/batches.ts';
import { LightPeftError } from './errors.ts';
import { flagOf, type Settings } from './options.ts';
import { operationCosts, parameterCosts } from './plan/costs.ts';
import type { PlanOptions } from './plan/plan.ts';
import { stepTimes } from './step-times.ts';
import type { Workbench } from './workbench.ts';

/** What stays where nothing is said of it. */
const TARGET_PARAMETERS = 0.6;
const TARGET_PEFT = 0.25;
const ROUND_TO = 16;

/** What asks for a cut of heads and neurons by ratios. */
const BY_RATIO = ['headRatio', 'neuronRatio', 'headScope', 'neuronScope'] as const;

/** The names of those that are set. */
const set = (settings: Settings, ...names: (keyof Settings)[]) =>
  names.filter((name) => settings[name] !== undefined);

/** The same cut, but only this part of the way, in factors: what stays is that power of what would. */
export function shareOfCut(settings: Settings, part: number): Partial<Settings> {
  const { targetFlops, targetTime, targetPeft, headRatio, neuronRatio, moduleRatio, rankRatio } = settings;
  const otherwise = set(settings, 'targetFlops', 'targetTime', ...BY_RATIO).length > 0;
  const targetParameters = otherwise ? undefined : (settings.targetParameters ?? TARGET_PARAMETERS);
  const stays = (keep: number | undefined) => (keep === undefined ? undefined : keep ** part);
  const goes = (ratio: number | undefined) => (ratio === undefined ? undefined : 1 - (1 - ratio) ** part);
  const ranksByRatio = set(settings, 'moduleRatio', 'rankRatio').length > 0;
  return {
    targetParameters: stays(targetParameters),
    targetFlops: stays(targetFlops),
    targetTime: stays(targetTime),
    targetPeft: stays(ranksByRatio ? undefined : (targetPeft ?? TARGET_PEFT)),
    headRatio: goes(headRatio),
    neuronRatio: goes(neuronRatio),
    moduleRatio: goes(moduleRatio),
    rankRatio: goes(rankRatio),
  };
}

function exclude(some: (keyof Settings)[], others: (keyof Settings)[]): void {
  const [one, other] = [some[0], others[0]];
  if (one !== undefined && other !== undefined)
    throw new LightPeftError('BAD_OPTION', `${flagOf(one)} and ${flagOf(other)} exclude each other`);
}

/**
 * How the settings want the cut to be made: heads and neurons to a target or by ratios, and modules and ranks likewise.
 * @throws {LightPeftError} BAD_OPTION: two ways at once
 */
export async function planOptions(
  bench: Workbench,
  examples: readonly EncodedExample[],
): Promise<PlanOptions> {
  const { settings, checkpoint } = bench;
  const { spec } = checkpoint;
  const { targetParameters, targetFlops, targetTime, targetPeft } = settings;
  const { depth, protect, minHeads, minNeurons } = settings;
  const roundTo = settings.roundTo ?? ROUND_TO;
  const unitRatios = set(settings, ...BY_RATIO);
  const rankRatios = set(settings, 'moduleRatio', 'rankRatio');
  exclude(set(settings, 'targetParameters'), set(settings, 'targetFlops', 'targetTime'));
  exclude(set(settings, 'targetFlops'), set(settings, 'targetTime'));
  exclude(set(settings, 'targetParameters', 'targetFlops', 'targetTime', 'roundTo'), unitRatios);
  exclude(set(settings, 'targetPeft'), rankRatios);
  const lengths = () => examples.flatMap((example) => example.lengths ?? [example.ids.length]);
  const budget = async (): Promise<PlanOptions['budget']> => {
    if (targetTime !== undefined)
      return { of: 'time', keep: targetTime, costs: await stepTimes(bench, examples), roundTo };
    if (targetFlops !== undefined)
      return { of: 'flops', keep: targetFlops, costs: operationCosts(spec, lengths()), roundTo };
    const keep = targetParameters ?? TARGET_PARAMETERS;
    return { of: 'parameters', keep, costs: parameterCosts(spec), roundTo };
  };
  return {
    ...(unitRatios.length === 0 && { budget: await budget() }),
    ...(rankRatios.length === 0 && {
      peft: {
        keep: targetPeft ?? TARGET_PEFT,
        sizes: { hidden: spec.hidden, headSize: spec.headSize },
      },
    }),
    ...{ depth, protect, minHeads, minNeurons },
    ratios: {
      heads: settings.headRatio,
      neurons: settings.neuronRatio,
      modules: settings.moduleRatio,
      ranks: settings.rankRatio,
    },
    scopes: { heads: settings.headScope, neurons: settings.neuronScope },
  };
}
