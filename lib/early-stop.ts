import { z } from 'zod';
import type { Dataset } from './data/dataset.ts';
import type { Session } from './engine.ts';
import { LightPeftError } from './errors.ts';
import type { EarlyEnd } from './fit.ts';
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

/** Ends an estimation when what it would cut has settled. */
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
    return new EarlyStop(bench, session, await planOptions(bench, data, cut), smaller);
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
    const { settings, model, note } = this.bench;
    const estimate = await measured(this.bench, this.session, this.smaller);
    const by = { units: estimate.estimator, modules: estimate.moduleEstimator, seed: settings.seed };
    this.norms ??= model.norms();
    const plan = makePlan(scoresOf(estimate, by, await this.norms), this.options);
    this.over = this.settling.add(plan, step) && step >= settings.minSteps;
    if (this.over)
      note(
        `settled: ${GRANULARITIES.map((name) => `${name} at step ${this.settling.settled[name]!}`).join(', ')}`,
      );
  }
}
