import { distances, GRANULARITIES, type Granularity, type Totals } from './distance.ts';
import { parsePlan, type Plan } from './plan.ts';

/** Plans that are compared (You et al. 2020). */
const DEPTH = 5;

/** What of it is saved, so that a resumed run stops where one that was never stopped would. */
export interface SettlingState {
  plans: unknown[];
  settled: Partial<Record<Granularity, number>>;
}

/**
 * The early-bird criterion: plans made at the ends of successive windows; a granularity has settled when the newest
 * differs from each of the four before it by no more than a threshold.
 */
export class Settling {
  private plans: Plan[] = [];
  /** By granularity, the step at which it settled first; one that is unsettled again is not in it. */
  settled: Partial<Record<Granularity, number>> = {};

  constructor(
    private readonly totals: Totals,
    private readonly threshold: number,
  ) {}

  /** Takes the plan of this step; whether everything has settled. */
  add(plan: Plan, step: number): boolean {
    const older = this.plans.slice(-(DEPTH - 1));
    this.plans = [...older, plan];
    if (older.length < DEPTH - 1) return false;
    const found = older.map((one) => distances(one, plan, this.totals));
    for (const granularity of GRANULARITIES) {
      if (found.every((distance) => distance[granularity] <= this.threshold))
        this.settled[granularity] ??= step;
      else delete this.settled[granularity];
    }
    return GRANULARITIES.every((granularity) => this.settled[granularity] !== undefined);
  }

  get state(): SettlingState {
    return { plans: this.plans, settled: { ...this.settled } };
  }

  set state({ plans, settled }: SettlingState) {
    this.plans = plans.map((plan) => parsePlan(plan));
    this.settled = { ...settled };
  }
}
