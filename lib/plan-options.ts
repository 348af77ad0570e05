import { isTokenwise } from './data/labels.ts';
import type { Spec } from './checkpoint/spec.ts';
import type { Dataset } from './data/dataset.ts';
import { LightPeftError } from './errors.ts';
import { type Cut, cutOf, flagOf, type Settings } from './options.ts';
import { operationCosts, parameterCosts } from './plan/costs.ts';
import { MIN_NEURONS, type PlanOptions } from './plan/plan.ts';
import { stepTimes } from './step-times.ts';
import type { Workbench } from './workbench.ts';

/** What stays where nothing is said of it. */
const TARGET_PARAMETERS = 0.6;
const TARGET_PEFT = 0.25;
/** Of a layer's neurons, where there is a target. */
const ROUND_TO = 16;
/** In a long run: products of a module's ranks take as long with one as with so many. */
const RANK_ROUND_TO = 8;

/** What asks for a cut of heads and neurons by ratios. */
const BY_RATIO = ['headRatio', 'neuronRatio', 'headScope', 'neuronScope'] as const;

/** Options of which none of the first goes with any of the second. */
const EXCLUSIVE: readonly (readonly [readonly (keyof Cut)[], readonly (keyof Cut)[]])[] = [
  [['targetParameters'], ['targetFlops', 'targetTime', ...BY_RATIO]],
  [['targetFlops'], ['targetTime', ...BY_RATIO]],
  [['targetTime'], BY_RATIO],
  [
    ['targetPeft', 'rankRoundTo'],
    ['moduleRatio', 'rankRatio'],
  ],
];

/** What ratios are where only others are given. */
const RATIOS = { headRatio: 1 / 3, neuronRatio: 1 / 3, moduleRatio: 0.75, rankRatio: 0.5 };

/** The names of those that are set. */
const given = <T extends object>(settings: T, ...names: (keyof T)[]) =>
  names.filter((name) => settings[name] !== undefined);

function exclude(some: (keyof Settings)[], others: (keyof Settings)[]): void {
  const [one, other] = [some[0], others[0]];
  if (one !== undefined && other !== undefined)
    throw new LightPeftError('BAD_OPTION', `${flagOf(one)} and ${flagOf(other)} exclude each other`);
}

/** @throws {LightPeftError} BAD_OPTION: the cut is asked for in two ways at once */
export function checkCut(settings: Settings): void {
  if (settings.peft === 'none')
    throw new LightPeftError(
      'BAD_OPTION',
      '--peft none: what is estimated and cut is a model with LoRA beside it',
    );
  for (const [some, others] of EXCLUSIVE) exclude(given(settings, ...some), given(settings, ...others));
  exclude(settings.rewind ? ['rewind'] : [], settings.carryMoments ? ['carryMoments'] : []);
}

/** The options of the cut that an estimate was for, but for what is said now and what that excludes. */
export function cutAgain(cut: Cut, options: Cut): Cut {
  const gone = EXCLUSIVE.flatMap(([some, others]) => [
    ...(given(options, ...some).length > 0 ? others : []),
    ...(given(options, ...others).length > 0 ? some : []),
  ]);
  const again = Object.entries(cut).filter(([name]) => !gone.some((one) => one === name));
  return { ...(Object.fromEntries(again) as Cut), ...cutOf(options) };
}

/**
 * The same cut, but only this part of the way, in factors: what stays is that power of what would. Layers at the bottom
 * lose their modules in the last cut alone.
 */
export function shareOfCut(settings: Settings, part: number): Partial<Settings> {
  if (part === 1) return {};
  const stays = (keep: number | undefined) => (keep === undefined ? undefined : keep ** part);
  const goes = (name: keyof typeof RATIOS) => 1 - (1 - (settings[name] ?? RATIOS[name])) ** part;
  const other = settings.targetFlops ?? settings.targetTime;
  const units =
    given(settings, ...BY_RATIO).length > 0
      ? { headRatio: goes('headRatio'), neuronRatio: goes('neuronRatio') }
      : {
          targetParameters:
            other === undefined ? stays(settings.targetParameters ?? TARGET_PARAMETERS) : undefined,
          targetFlops: stays(settings.targetFlops),
          targetTime: stays(settings.targetTime),
        };
  const ranks =
    given(settings, 'moduleRatio', 'rankRatio').length > 0
      ? { moduleRatio: goes('moduleRatio'), rankRatio: goes('rankRatio') }
      : { targetPeft: stays(settings.targetPeft ?? TARGET_PEFT) };
  return { ...units, ...ranks, depth: 0 };
}

/**
 * Heads of every layer that come before all else where a share of the encoder stays: three quarters of them, or somewhat more than the share
 * where that is less. First-order scores rank heads well but rate them low beside neurons: few of a layer's are needed while
 * all are there, and many once some are gone (docs/results.md).
 */
const wantedHeads = (heads: number, keep: number): number => Math.ceil(heads * Math.min(0.75, 1.25 * keep));

/** @throws {LightPeftError} BAD_OPTION: it is more than a layer has */
function atMost(flag: string, value: number | undefined, there: number, what: string): void {
  if (value !== undefined && value > there)
    throw new LightPeftError('BAD_OPTION', `${flag}: a layer has ${there} ${what}, not ${value}`);
}

/** @throws {LightPeftError} BAD_OPTION: the cut asks for more than a layer has, or for a layer that is not there */
export function checkFits({ minHeads, minNeurons, roundTo, protect }: Settings, spec: Spec): void {
  atMost('--min-heads', minHeads, spec.heads, 'heads');
  // Of fewer than those that stay where nothing is said, all stay.
  if (minNeurons > MIN_NEURONS) atMost('--min-neurons', minNeurons, spec.ffn, 'neurons');
  atMost('--round-to', roundTo, spec.ffn, 'neurons');
  const beyond = protect.find((layer) => layer >= spec.layers);
  if (beyond !== undefined)
    throw new LightPeftError(
      'BAD_OPTION',
      `--protect: there are ${spec.layers} layers, from 0, and no ${beyond}`,
    );
}

/**
 * How the settings want the cut to be made: heads and neurons to a target or by ratios, and modules and ranks likewise.
 * @param long whether it is for a long run
 */
export async function planOptions(
  bench: Workbench,
  data: Dataset,
  settings: Settings = bench.settings,
  { long = false } = {},
): Promise<PlanOptions> {
  const { spec } = bench.checkpoint;
  const { targetParameters, targetFlops, targetTime, targetPeft } = settings;
  const { depth, protect, minHeads, minNeurons } = settings;
  checkCut(settings);
  checkFits(settings, spec);
  const unitRatios = given(settings, ...BY_RATIO);
  const rankRatios = given(settings, 'moduleRatio', 'rankRatio');
  const lengths = () => data.examples.flatMap((example) => example.lengths ?? [example.ids.length]);
  const budget = async (): Promise<PlanOptions['budget']> => {
    if (targetTime !== undefined)
      return { of: 'time', keep: targetTime, costs: await stepTimes(bench, data) };
    if (targetFlops !== undefined)
      return {
        of: 'flops',
        keep: targetFlops,
        costs: operationCosts(spec, lengths(), { every: isTokenwise(data.labels) }),
      };
    const keep = targetParameters ?? TARGET_PARAMETERS;
    // Among parameters those go first that are worth little for the operations they take: what a step is to save.
    const prices = operationCosts(spec, lengths(), { every: isTokenwise(data.labels) });
    return { of: 'parameters', keep, costs: parameterCosts(spec), prices };
  };
  const whole = unitRatios.length === 0 ? await budget() : undefined;
  return {
    ...(whole && { budget: whole }),
    ...(rankRatios.length === 0 && {
      peft: {
        keep: targetPeft ?? TARGET_PEFT,
        roundTo: settings.rankRoundTo ?? (long ? RANK_ROUND_TO : 1),
        sizes: { hidden: spec.hidden, headSize: spec.headSize, group: spec.group },
      },
    }),
    ...{ depth, protect, minNeurons },
    roundTo: settings.roundTo ?? (whole ? ROUND_TO : 1),
    ...(minHeads !== undefined
      ? { minHeads }
      : whole && { wantedHeads: wantedHeads(spec.heads, whole.keep) }),
    ratios: {
      heads: settings.headRatio,
      neurons: settings.neuronRatio,
      modules: settings.moduleRatio,
      ranks: settings.rankRatio,
    },
    scopes: { heads: settings.headScope, neurons: settings.neuronScope },
  };
}
