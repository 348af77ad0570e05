import type { Session } from './engine.ts';
import type { Settings } from './options.ts';
import type { Estimate } from './plan/estimate-file.ts';
import { estimatorOf, moduleEstimatorOf } from './plan/estimators.ts';

/** What an estimation has measured so far. */
export async function measured(session: Session, fingerprint: string, settings: Settings): Promise<Estimate> {
  const { steps, heads, neurons, measures } = await session.scores();
  return {
    fingerprint,
    steps,
    estimator: estimatorOf(settings),
    moduleEstimator: moduleEstimatorOf(settings),
    masks: { heads, neurons },
    measures,
    modules: session.modules.map(({ name, layer, site }) => ({ name, layer, site })),
  };
}
