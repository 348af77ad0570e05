import { readLightAdapter } from './adapter/light.ts';
import { layerCuts } from './adapter/delta.ts';
import { FAMILIES } from './checkpoint/families.ts';
import { type Checkpoint, openCheckpoint } from './checkpoint/folder.ts';
import { sitesOf } from './checkpoint/spec.ts';
import { packBatch } from './data/batches.ts';
import { Random } from './data/random.ts';
import { Model, Session } from './engine.ts';
import { LightPeftError } from './errors.ts';
import { type LayerCut, PLAIN_SESSION } from './native.ts';
import { median } from './median.ts';
import { keptShares, planDifference, planMap } from './plan/inspect.ts';
import { parsePlan } from './plan/plan.ts';
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
  const checkpoint = await openCheckpoint(model ?? adapter.info.base);
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

/**
 * What a light adapter's plan keeps: a map of layers, shares of parameters and operations, and the speed-up to expect,
 * with `measure` beside the one that was measured.
 * @throws {LightPeftError} BAD_ADAPTER, BAD_PLAN, BAD_CHECKPOINT and what opening the base throws
 */
export async function inspectPlan(folder: string, options: PlanReportOptions = {}): Promise<string> {
  const { plan, info, delta, checkpoint } = await opened(folder, options.model);
  const { spec } = checkpoint;
  const length = options.length ?? Math.min(128, spec.maxLength);
  if (!Number.isInteger(length) || length < 1 || length > spec.maxLength)
    throw new LightPeftError('BAD_OPTION', `--length: from 1 to ${spec.maxLength}`);
  const family = FAMILIES.get(spec.family)!;
  const { parameters, operations } = keptShares(plan, spec, length, { every: info.tells !== undefined });
  const ranks = plan.modules.reduce((sum, module) => sum + module.ranks.length, 0);
  const percent = (share: number) => `${(100 * share).toFixed(1)} %`;
  const lines = [
    `base ${info.base}; ${plan.budget ? `${percent(plan.budget.keep)} of its ${plan.budget.of} asked for` : `rule ${plan.rule}`}`,
    '',
    planMap(plan, spec, (layer, site) => family.moduleOf(`layers.${layer}.${site}`)!),
    '',
    `encoder: ${percent(parameters)} of the parameters, ${percent(operations)} of the operations on texts of ${length} tokens`,
    `PEFT: ${plan.modules.length} modules, ${ranks} ranks`,
    `inference: ${(1 / operations).toFixed(2)} times as fast to expect`,
  ];
  if (options.measure) {
    const times = await speedup(checkpoint, layerCuts(plan, delta), length, options.threads ?? 0);
    lines.push(
      `           ${times.toFixed(2)} times as fast measured, ${TEXTS} texts at once, embeddings counted`,
    );
  }
  return lines.join('\n');
}

/**
 * Normalised Hamming distances of two light adapters' plans for one base.
 * @throws {LightPeftError} as inspectPlan; BAD_PLAN: plans for different bases
 */
export async function diffPlans(a: string, b: string, { model }: PlanReportOptions = {}): Promise<string> {
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
  const totals = { heads: layers * heads, neurons: layers * ffn, modules, ranks };
  const heading = `what only one of ${a} and ${b} keeps, of all that the base and its adapter have:`;
  return `${heading}\n${planDifference(first.plan, second.plan, totals)}`;
}
