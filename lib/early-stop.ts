import { z } from 'zod';
import type { Dataset } from './data/dataset.ts';
import type { Session } from './engine.ts';
import { LightPeftError } from './errors.ts';
import { type EarlyEnd, stepsOf } from './fit.ts';
import { measured } from './measured.ts';
import { planOptions } from './plan-options.ts';
import { scoresOf } from './plan/estimators.ts';
import { GRANULARITIES } from './plan/distance.ts';
import { makePlan, type PlanOptions } from './plan/plan.ts';
import { Settling } from './plan/settling.ts';
import type { WeightNorms } from './native.ts';
import type { Settings } from './options.ts';
import type { Smaller } from './smaller.ts';
import type { Workbench } from './workbench.ts';

const STATE = z.strictObject({
  settling: z.object({ plans: z.array(z.unknown()), settled: z.record(z.string(), z.number()) }),
  over: z.boolean(),
});

/** Fewer steps tell too little, whatever share of a run they are. */
const LEAST_STEPS = 250;

/** How many steps are the share that an estimation may take of the run that it is for; of a short run it may take any. */
function mostSteps(settings: Settings, examples: number): number {
  const most = Math.floor(settings.estimationShare * stepsOf(examples, { ...settings, maxSteps: 0 }));
  return settings.rounds === 1 && most >= LEAST_STEPS ? most : Infinity;
}

/** Ends an estimation when what it would cut has settled, or when it has taken its share of a long run. */
export class EarlyStop implements EarlyEnd {
  readonly window: number;
  private readonly settling: Settling;
  private norms: Promise<WeightNorms> | undefined;
  over = false;

  private constructor(
    private readonly bench: Workbench,
    private readonly session: Session,
    private readonly options: PlanOptions,
    private readonly smaller: Smaller | undefined,
    private readonly most: number,
  ) {
    const { settings, checkpoint } = bench;
    const { layers, heads, ffn } = checkpoint.spec;
    const modules = bench.modules();
    const ranks = modules.reduce((sum, { rank }) => sum + rank, 0);
    const totals = { heads: layers * heads, neurons: layers * ffn, modules: modules.length, ranks };
    this.window = settings.stopWindow;
    this.settling = new Settling(totals, settings.stopDistance);
  }

  /** @param cut the settings of the cut that is to settle */
  static async of(
    bench: Workbench,
    session: Session,
    data: Dataset,
    cut: Settings,
    smaller?: Smaller,
  ): Promise<EarlyStop> {
    const most = mostSteps(bench.settings, data.examples.length);
    return new EarlyStop(bench, session, await planOptions(bench, data, cut), smaller, most);
  }

  get state(): unknown {
    return { settling: this.settling.state, over: this.over };
  }

  /** @throws {LightPeftError} BAD_STATE: it is another version's */
  set state(state: unknown) {
    const { success, data } = STATE.safeParse(state);
    if (!success) throw new LightPeftError('BAD_STATE', 'the run to resume began with another version');
    this.settling.state = data.settling;
    this.over = data.over;
  }

  async look(step: number): Promise<void> {
    const { settings, model } = this.bench;
    const estimate = await measured(this.bench, this.session, this.smaller);
    const by = { units: estimate.estimator, modules: estimate.moduleEstimator, seed: settings.seed };
    this.norms ??= model.norms();
    const plan = makePlan(scoresOf(estimate, by, await this.norms), this.options);
    const settled = this.settling.add(plan, step);
    // The step that is being taken belongs to it, whatever the look tells.
    const spent = step + this.window + 1 > this.most;
    this.over = (settled || spent) && step >= settings.minSteps;
    if (!this.over) return;
    this.tell('when the share of a long run was taken (--estimation-share)');
  }

  missed(): void {
    this.tell('by the last step (--max-steps)');
  }

  private tell(end: string): void {
    const { note } = this.bench;
    const { settled } = this.settling;
    const when = Object.entries(settled).map(([name, at]) => `${name} at step ${at}`);
    const left = GRANULARITIES.filter((name) => settled[name] === undefined);
    if (when.length > 0) note(`settled: ${when.join(', ')}`);
    if (left.length > 0) note(`not settled ${end}: ${left.join(', ')}`);
  }
}
