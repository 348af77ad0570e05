import * as z from 'zod';
import type { Site } from '../checkpoint/spec.ts';
import { LightPeftError } from '../errors.ts';
import { keepWithin } from './budget.ts';
import { ranksWithin } from './rank-budget.ts';
import { worded } from '../wording.ts';
import type { ModuleScores, Scores } from './scores.ts';
import { keepAboveQuantile, keepTop, type Scope, type SelectOptions } from './select.ts';

/** 'exact' prunes the share that was asked for; 'quantile' is the rule of the Light-PEFT paper's code. */
export type Rule = 'exact' | 'quantile';

/** What an encoder's cost is counted in. */
export type Budgeted = 'parameters' | 'flops' | 'time';

/** What stays of a base and its adapter. All indices count in the unpruned model and ascend. */
export interface Plan {
  version: 1;
  /** Of the base that the plan was made for. */
  fingerprint: string;
  rule: Rule;
  /** Where heads and neurons were cut to a budget rather than by ratios: the share of the encoder's cost that may stay. */
  budget?: { of: Budgeted; keep: number } | undefined;
  /** Where ranks were cut to a budget: the share of the adapter's parameters that may stay. */
  peft?: { keep: number } | undefined;
  /** The lowest layers whose modules together were worth at most this share lost them all. */
  depth?: number | undefined;
  /** The shares to prune, in [0, 1), as asked for. */
  ratios: { heads: number; neurons: number; modules: number; ranks: number };
  /** For ranks, a layer is a module. */
  scopes: { heads: Scope; neurons: Scope; ranks: Scope };
  layers: { heads: number[]; neurons: number[] }[];
  /** Those that stay, each with one rank or more. */
  modules: { name: string; ranks: number[] }[];
}

/** What of a base a plan must fit. */
export interface PlanBase {
  fingerprint: string;
  layers: number;
  heads: number;
  ffn: number;
}

/** Where nothing else is said: few mean a layer without heads or with a handful of neurons by a ratio. */
const MIN_HEADS = 1;
export const MIN_NEURONS = 8;

const ruleSchema = z.enum(['exact', 'quantile']);
const scopeSchema = z.enum(['layer', 'global']);
const ratioSchema = z.number().min(0).lt(1);

const budgetSchema = z.strictObject({
  of: z.enum(['parameters', 'flops', 'time']),
  keep: z.number().gt(0).max(1),
});
const cost = z.number().nonnegative();
const costsSchema = z.array(z.strictObject({ head: cost, neuron: cost, rest: cost }));

const optionsSchema = z.strictObject({
  rule: ruleSchema.default('exact'),
  budget: budgetSchema
    .extend({
      /** Of each layer, in what the budget is of, and in what worth is weighed against. */
      costs: costsSchema,
      prices: costsSchema.optional(),
    })
    .optional(),
  peft: z
    .strictObject({
      keep: z.number().gt(0).max(1),
      sizes: z.strictObject({ hidden: cost, headSize: cost, group: cost.default(1) }),
      /** Ranks of a module stay by so many, the best of them first. */
      roundTo: z.int().min(1).default(1),
    })
    .optional(),
  /** Neurons of a layer stay by so many; by ratios at least as many as those ask for. */
  roundTo: z.int().min(1).default(1),
  depth: ratioSchema.default(0),
  /** Layers that lose neither heads nor neurons. */
  protect: z.array(z.int().nonnegative()).default([]),
  /** That every layer keeps; with 0 a layer may lose its attention or its FFN. */
  minHeads: z.int().nonnegative().default(MIN_HEADS),
  /** Heads of each layer that come before all else where there is a budget, as far as it goes. */
  wantedHeads: z.int().nonnegative().default(0),
  minNeurons: z.int().nonnegative().default(MIN_NEURONS),
  ratios: z
    .strictObject({
      heads: ratioSchema.default(1 / 3),
      neurons: ratioSchema.default(1 / 3),
      modules: ratioSchema.default(0.75),
      ranks: ratioSchema.default(0.5),
    })
    .prefault({}),
  scopes: z
    .strictObject({
      heads: scopeSchema.default('layer'),
      neurons: scopeSchema.default('global'),
      ranks: scopeSchema.default('global'),
    })
    .prefault({}),
});

export type PlanOptions = z.input<typeof optionsSchema>;

const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i);

const ascends = (indices: readonly number[]): boolean =>
  indices.every((index, i) => i === 0 || indices[i - 1]! < index);

const indicesSchema = z.array(z.int().nonnegative()).refine(ascends, 'indices must ascend and not repeat');

const planSchema: z.ZodType<Plan> = z.strictObject({
  version: z.literal(1),
  fingerprint: z.string().min(1),
  rule: ruleSchema,
  budget: budgetSchema.optional(),
  peft: z.strictObject({ keep: z.number().gt(0).max(1) }).optional(),
  depth: ratioSchema.optional(),
  ratios: z.strictObject({
    heads: ratioSchema,
    neurons: ratioSchema,
    modules: ratioSchema,
    ranks: ratioSchema,
  }),
  scopes: z.strictObject({ heads: scopeSchema, neurons: scopeSchema, ranks: scopeSchema }),
  layers: z.array(z.strictObject({ heads: indicesSchema, neurons: indicesSchema })).min(1),
  modules: z
    .array(z.strictObject({ name: z.string().min(1), ranks: indicesSchema.min(1) }))
    .min(1)
    .refine(
      (modules) => new Set(modules.map(({ name }) => name)).size === modules.length,
      'a module is named twice',
    ),
});

/** The first complaint, on one line, led by where it is. */
const complaint = ({ issues: [issue] }: z.ZodError): string =>
  issue === undefined
    ? 'malformed'
    : [issue.path.map(String).join('.'), issue.message].filter(Boolean).join(': ');

const checkScores = ({ heads, neurons, modules }: Scores): void => {
  const bad = (message: string) => new LightPeftError('BAD_SCORES', message);
  if (heads.length === 0 || heads.length !== neurons.length)
    throw bad(
      `there are scores for the heads of ${heads.length} layers and the neurons of ${neurons.length}`,
    );
  if (modules.length === 0) throw bad('no PEFT module was scored');
  const rankless = modules.find(({ ranks }) => ranks.length === 0);
  if (rankless) throw bad(`module ${rankless.name} has no ranks`);
};

type Select = (scores: Float32Array[], ratio: number, options: SelectOptions) => number[][];

const RULES: Record<Rule, Select> = {
  exact: keepTop,
  // The quantile is never below the lowest score, so the bare rule would prune where nothing is to be pruned.
  quantile: (scores, ratio, options) => (ratio === 0 ? keepTop : keepAboveQuantile)(scores, ratio, options),
};

type PlanSettings = z.output<typeof optionsSchema>;

/** Heads and neurons that stay of each layer. */
function keepUnits(scores: Scores, settings: PlanSettings): Plan['layers'] {
  const { rule, ratios, scopes, budget, protect, minHeads, wantedHeads, minNeurons, roundTo } = settings;
  if (budget) {
    const kept = keepWithin(scores, budget, {
      ...{ ...budget, minHeads, wantedHeads, minNeurons, roundTo, protect },
      together: scores.together,
    });
    return kept.heads.map((heads, l) => ({ heads, neurons: kept.neurons[l]! }));
  }
  const stray = protect.find((layer) => layer >= scores.heads.length);
  if (stray !== undefined)
    throw new LightPeftError(
      'BAD_OPTION',
      `there is no layer ${stray} among ${scores.heads.length} to protect`,
    );
  const select = RULES[rule];
  const heads = select(scores.heads, ratios.heads, { scope: scopes.heads, atLeast: minHeads });
  const neurons = select(scores.neurons, ratios.neurons, {
    ...{ scope: scopes.neurons, atLeast: minNeurons, roundTo },
  });
  return heads.map((kept, l) =>
    protect.includes(l)
      ? { heads: range(scores.heads[l]!.length), neurons: range(scores.neurons[l]!.length) }
      : { heads: kept, neurons: neurons[l]! },
  );
}

/** Which ranks of each module stay: none of some, but one at least in all. */
const keepRanks = (ranks: Float32Array[], ratio: number, scope: Scope, select: Select): number[][] => {
  const kept = select(ranks, ratio, { scope, atLeast: 0 });
  if (kept.some(({ length }) => length > 0)) return kept;
  const total = ranks.reduce((sum, { length }) => sum + length, 0);
  return keepTop(ranks, (total - 1) / total, { scope: 'global', atLeast: 0 });
};

/** Whole modules by their scores, then ranks of those that survive. */
function keepModules(modules: ModuleScores[], { rule, ratios, scopes }: PlanSettings): Plan['modules'] {
  const select = RULES[rule];
  const values = Float32Array.from(modules, ({ ratio }) => ratio);
  const [kept] = select([values], ratios.modules, { scope: 'global', atLeast: 1 });
  const survivors = kept!.map((i) => modules[i]!);
  const ranks = keepRanks(
    survivors.map((module) => module.ranks),
    ratios.ranks,
    scopes.ranks,
    select,
  );
  return survivors.map(({ name }, i) => ({ name, ranks: ranks[i]! }));
}

/** Whether a site has anything left to work on. */
const isAlive = (site: Site, { heads, neurons }: Plan['layers'][number]): boolean =>
  (site === 'intermediate' || site === 'output' ? neurons : heads).length > 0;

/** How many of the lowest layers have modules that together are worth at most a share of all; never all layers. */
function trunkOf(modules: readonly ModuleScores[], { heads }: Scores, share: number): number {
  const worth = (value: number) => (Number.isFinite(value) ? Math.max(0, value) : 0);
  const byLayer = heads.map((_, layer) =>
    modules.filter((module) => module.layer === layer).reduce((sum, { ratio }) => sum + worth(ratio), 0),
  );
  const allowed = share * byLayer.reduce((sum, value) => sum + value, 0);
  const highest = Math.max(...modules.map(({ layer }) => layer));
  let trunk = 0;
  for (let below = byLayer[0]!; share > 0 && below <= allowed && trunk < highest; below += byLayer[trunk]!)
    trunk++;
  return trunk;
}

/**
 * Decides what to prune: heads and neurons, whole modules, then ranks of the modules that survive. Every layer keeps
 * its least, and the adapter one module with one rank; a module that loses all its ranks or the place it sits at goes too.
 * @throws {LightPeftError} BAD_OPTION: a ratio outside [0, 1), an unknown rule or scope, a budget that cannot be met, no
 *   module left to train; BAD_SCORES: the scores have no
 *   layer, no module, a module without ranks, or heads and neurons of different numbers of layers
 */
export const makePlan = (scores: Scores, options: PlanOptions = {}): Plan => {
  const checked = optionsSchema.safeParse(options, { error: worded });
  if (!checked.success) throw new LightPeftError('BAD_OPTION', complaint(checked.error));
  const { rule, ratios, scopes, budget, peft, depth } = checked.data;
  checkScores(scores);
  const layers = keepUnits(scores, checked.data);
  const alive = scores.modules.filter(({ layer, site }) => isAlive(site, layers[layer]!));
  if (alive.length === 0)
    throw new LightPeftError(
      'BAD_OPTION',
      'the cut leaves nothing to train: no PEFT module has a place left',
    );
  const trunk = trunkOf(alive, scores, depth);
  const candidates = alive.filter(({ layer }) => layer >= trunk);
  return {
    version: 1,
    fingerprint: scores.fingerprint,
    rule,
    ...(budget && { budget: { of: budget.of, keep: budget.keep } }),
    ...(peft && { peft: { keep: peft.keep } }),
    ...(depth > 0 && { depth }),
    ratios,
    scopes,
    layers,
    modules: (peft
      ? ranksWithin(candidates, scores, layers, peft)
      : keepModules(candidates, checked.data)
    ).filter((module) => module.ranks.length > 0),
  };
};

/** The plan that keeps everything, so that training without pruning is training like any other. */
export const emptyPlan = (base: PlanBase, modules: readonly { name: string; rank: number }[]): Plan => ({
  version: 1,
  fingerprint: base.fingerprint,
  rule: 'exact',
  ratios: { heads: 0, neurons: 0, modules: 0, ranks: 0 },
  scopes: { heads: 'layer', neurons: 'global', ranks: 'global' },
  layers: range(base.layers).map(() => ({ heads: range(base.heads), neurons: range(base.ffn) })),
  modules: modules.map(({ name, rank }) => ({ name, ranks: range(rank) })),
});

const checkFit = (plan: Plan, base: PlanBase): void => {
  const bad = (message: string) => new LightPeftError('BAD_PLAN', message);
  if (plan.fingerprint !== base.fingerprint)
    throw bad(
      `the plan was made for another base: it has the fingerprint ${plan.fingerprint}, this base ${base.fingerprint}`,
    );
  if (plan.layers.length !== base.layers)
    throw bad(`the plan has ${plan.layers.length} layers, the base ${base.layers}`);
  plan.layers.forEach(({ heads, neurons }, i) => {
    // Indices ascend, so the last tells for all.
    if ((heads.at(-1) ?? 0) >= base.heads)
      throw bad(`layers.${i}.heads: there is no head ${heads.at(-1)!} among ${base.heads}`);
    if ((neurons.at(-1) ?? 0) >= base.ffn)
      throw bad(`layers.${i}.neurons: there is no neuron ${neurons.at(-1)!} among ${base.ffn}`);
  });
};

/**
 * A plan read back from JSON. Module names and the upper end of their ranks are for the one who knows the adapter.
 * @param against the base that it must have been made for
 * @throws {LightPeftError} BAD_PLAN: it is malformed, was made for another base or does not fit it
 */
export const parsePlan = (json: unknown, against?: PlanBase): Plan => {
  const parsed = planSchema.safeParse(json);
  if (!parsed.success)
    throw new LightPeftError('BAD_PLAN', `the plan is malformed: ${complaint(parsed.error)}`);
  if (against) checkFit(parsed.data, against);
  return parsed.data;
};
