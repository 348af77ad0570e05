import { readLightAdapter } from './adapter/light.ts';
import { layerCuts } from './adapter/delta.ts';
import { FAMILIES } from './checkpoint/families.ts';
import { type Checkpoint, openCheckpoint } from './checkpoint/folder.ts';
import { sitesOf, type Spec } from './checkpoint/spec.ts';
import { packBatch } from './data/batches.ts';
import { isTokenwise } from './data/labels.ts';
import { Random } from './data/random.ts';
import { Model, Session } from './engine.ts';
import { LightPeftError } from './errors.ts';
import { type LayerCut, PLAIN_SESSION } from './native.ts';
import { median } from './median.ts';
import { distances, GRANULARITIES, type Granularity } from './plan/distance.ts';
import { keptShares, planMap } from './plan/inspect.ts';
import { parsePlan, type Plan } from './plan/plan.ts';
import { whole } from './result-folder.ts';
import { isTarget } from './workbench.ts';

export interface PlanReportOptions {
  /** The base, where the adapter does not name one that is there. */
  model?: string | undefined;
  /** Tokens of a text, for operations and times. */
  length?: number | undefined;
  /** Whether the base and what is left of it are timed. */
  measure?: boolean | undefined;
  threads?: number | undefined;
}

const TEXTS = 8;
const ROUNDS = 7;

async function opened(folder: string, model: string | undefined) {
  const adapter = await readLightAdapter(folder);
  const base = model ?? adapter.info.base;
  await whole(base);
  const checkpoint = await openCheckpoint(base);
  const { layers, heads, ffn } = checkpoint.spec;
  const { fingerprint } = checkpoint;
  return { ...adapter, plan: parsePlan(adapter.plan, { fingerprint, layers, heads, ffn }), checkpoint };
}

/** How many times as fast as the base's the inference of what is left is: medians, in turns. */
async function speedup(
  checkpoint: Checkpoint,
  cuts: LayerCut[],
  length: number,
  threads: number,
): Promise<number> {
  using whole = await Model.load(checkpoint, { threads });
  using small = await whole.cut(cuts, { threads });
  const random = new Random(1);
  const batch = packBatch(
    Array.from({ length: TEXTS }, (_, idx) => ({
      ids: Int32Array.from({ length }, () => 3 + random.below(checkpoint.spec.vocab - 3)),
      ...{ typeIds: new Int32Array(length), truncated: false, idx, label: 0 },
    })),
  );
  const sessions = [whole, small].map((model) => new Session(model, PLAIN_SESSION, { threads }));
  const times: number[][] = [[], []];
  try {
    for (let round = -1; round < ROUNDS; round++)
      for (const [i, session] of sessions.entries()) {
        const started = performance.now();
        await session.evaluate(batch);
        if (round >= 0) times[i]!.push(performance.now() - started);
      }
  } finally {
    for (const session of sessions) session.dispose();
  }
  return median(times[0]!) / median(times[1]!);
}

/** What a light adapter's plan keeps. */
export interface PlanReport {
  base: string;
  plan: Plan;
  /** Shares of the encoder that stay, of its operations on a text of so many tokens. */
  parameters: number;
  operations: number;
  length: number;
  /** How many times as fast inference is: by operations, and, where it was asked for, as it was timed. */
  expectedSpeedup: number;
  measuredSpeedup?: number;
}

/**
 * @throws {LightPeftError} BAD_ADAPTER, BAD_PLAN, BAD_CHECKPOINT and what opening the base throws; BAD_OPTION: `length` is out of range
 */
export async function reportPlan(folder: string, options: PlanReportOptions = {}): Promise<PlanReport> {
  return (await inspected(folder, options)).report;
}

async function inspected(
  folder: string,
  options: PlanReportOptions,
): Promise<{ report: PlanReport; spec: Spec }> {
  const { plan, info, delta, checkpoint } = await opened(folder, options.model);
  const { spec } = checkpoint;
  const length = options.length ?? Math.min(128, spec.maxLength);
  if (!Number.isInteger(length) || length < 1 || length > spec.maxLength)
    throw new LightPeftError('BAD_OPTION', `--length: from 1 to ${spec.maxLength}`);
  const shares = keptShares(plan, spec, length, { every: isTokenwise({ kind: info.tells }) });
  const timed = async () => speedup(checkpoint, layerCuts(plan, delta), length, options.threads ?? 0);
  const report = { base: info.base, plan, ...shares, length, expectedSpeedup: 1 / shares.operations };
  return { spec, report: options.measure ? { ...report, measuredSpeedup: await timed() } : report };
}

const percent = (share: number) => `${(100 * share).toFixed(1)} %`;

/** How much was to be kept, or cut, of an encoder and its adapter. */
function askedOf({ budget, peft, ratios, rule }: Plan): string[] {
  const cut = (...names: (keyof Plan['ratios'])[]) =>
    `${names.map((name) => `${percent(ratios[name])} of its ${name}`).join(', ')} to be cut`;
  return [
    budget ? `${percent(budget.keep)} of its ${budget.of} asked for` : cut('heads', 'neurons'),
    peft ? `${percent(peft.keep)} of its PEFT parameters asked for` : cut('modules', 'ranks'),
    ...(rule === 'exact' ? [] : [`rule ${rule}`]),
  ];
}

/**
 * The same to be read: a map of layers, shares of parameters and operations, and the speed-up to expect, with `measure`
 * beside the one that was measured.
 * @throws {LightPeftError} as reportPlan
 */
export async function inspectPlan(folder: string, options: PlanReportOptions = {}): Promise<string> {
  const { report, spec } = await inspected(folder, options);
  const { base, plan, parameters, operations, length, expectedSpeedup, measuredSpeedup } = report;
  const family = FAMILIES.get(spec.family)!;
  const ranks = plan.modules.reduce((sum, module) => sum + module.ranks.length, 0);
  const lines = [
    `base ${base}; ${askedOf(plan).join(', ')}`,
    '',
    planMap(plan, spec, (layer, site) => family.moduleOf(`layers.${layer}.${site}`)!),
    '',
    `encoder: ${percent(parameters)} of the parameters, ${percent(operations)} of the operations on texts of ${length} tokens`,
    `PEFT: ${plan.modules.length} modules, ${ranks} ranks`,
    `inference: ${expectedSpeedup.toFixed(2)} times as fast to expect`,
  ];
  if (measuredSpeedup !== undefined)
    lines.push(
      `           ${measuredSpeedup.toFixed(2)} times as fast measured, ${TEXTS} texts at once, embeddings counted`,
    );
  return lines.join('\n');
}

/**
 * Normalised Hamming distances of two light adapters' plans for one base: of all heads, neurons, modules and ranks the
 * shares that only one of them keeps.
 * @throws {LightPeftError} as reportPlan; BAD_PLAN: plans for different bases
 */
export async function planDistances(
  a: string,
  b: string,
  { model }: PlanReportOptions = {},
): Promise<Record<Granularity, number>> {
  const first = await opened(a, model);
  const second = await readLightAdapter(b);
  if (second.plan.fingerprint !== first.plan.fingerprint)
    throw new LightPeftError('BAD_PLAN', `${a} and ${b} were made for different bases`);
  const { layers, heads, ffn } = first.checkpoint.spec;
  const family = FAMILIES.get(first.checkpoint.spec.family)!;
  const targets = [...first.info.targetModules, ...second.info.targetModules];
  const all = Array.from({ length: layers }, (_, layer) =>
    sitesOf(first.checkpoint.spec).map((site) => family.moduleOf(`layers.${layer}.${site}`)!),
  ).flat();
  const modules = all.filter((name) => targets.some((target) => isTarget(name, target))).length;
  const ranks = modules * Math.max(first.info.r, second.info.r);
  return distances(first.plan, second.plan, { heads: layers * heads, neurons: layers * ffn, modules, ranks });
}

/** The same to be read. */
export async function diffPlans(a: string, b: string, options: PlanReportOptions = {}): Promise<string> {
  const found = await planDistances(a, b, options);
  const lines = GRANULARITIES.map(
    (name) => `${name.padEnd(8)} ${(100 * found[name]).toFixed(1).padStart(5)} %`,
  );
  return [`what only one of ${a} and ${b} keeps, of all that the base and its adapter have:`, ...lines].join(
    '\n',
  );
}
