import { Random } from '../data/random.ts';
import { LightPeftError } from '../errors.ts';
import type { WeightNorms } from '../native.ts';
import type { Estimate } from './estimate-file.ts';
import type { Scores } from './scores.ts';

/** By layer; a higher score is worth more. */
interface Units {
  heads: Float32Array[];
  neurons: Float32Array[];
}

export const ESTIMATOR_NAMES = [
  ...(['l1', 'l1-absolute', 'taylor', 'activation-gradient'] as const),
  ...(['magnitude', 'wanda', 'fluctuation', 'random'] as const),
] as const;
export type Estimator = (typeof ESTIMATOR_NAMES)[number];

/** Uniform in [0, 1): a seeded order. */
const drawn = (like: readonly ArrayLike<unknown>[], random: Random): Float32Array[] =>
  like.map(({ length }) => Float32Array.from({ length }, () => random.next() / 2 ** 32));

const zip = (a: ArrayLike<number>, b: ArrayLike<number>, one: (a: number, b: number) => number) =>
  Float32Array.from({ length: a.length }, (_, i) => one(a[i]!, b[i]!));

/** Sums over the columns of each head. */
const byHead = (values: Float32Array, heads: number): Float32Array => {
  const size = values.length / heads;
  return Float32Array.from({ length: heads }, (_, head) =>
    values.subarray(head * size, (head + 1) * size).reduce((sum, value) => sum + value, 0),
  );
};

/** What activations do to the outputs: the squares of the columns that read them times `spread` of each, and the root. */
function byActivation(
  { masks, measures }: Estimate,
  norms: WeightNorms,
  spread: (mean: number, square: number) => number,
): Units {
  const weighted = (norm: Float32Array, mean: Float32Array, square: Float32Array) => {
    const spreads = zip(mean, square, spread);
    return zip(norm, spreads, (n, s) => n * n * s);
  };
  const root = (values: Float32Array) => values.map(Math.sqrt);
  return {
    heads: masks.heads.map(({ length }, l) =>
      root(byHead(weighted(norms.context[l]!, measures.contextMean[l]!, measures.contextSquare[l]!), length)),
    ),
    neurons: masks.neurons.map((_, l) =>
      root(weighted(norms.neuronOut[l]!, measures.neuronMean[l]!, measures.neuronSquare[l]!)),
    ),
  };
}

/** With mean 0 and deviation 1 in each layer, so that layers of different scales can be compared. */
const standardized = (layers: Float32Array[]): Float32Array[] =>
  layers.map((values) => {
    const scored = values.filter((value) => !Number.isNaN(value));
    const mean = scored.reduce((sum, value) => sum + value, 0) / scored.length;
    const variance = scored.reduce((sum, value) => sum + (value - mean) ** 2, 0) / scored.length;
    return values.map((value) => (value - mean) / Math.sqrt(variance || 1));
  });

const absolute = (layers: Float32Array[]) => layers.map((values) => values.map(Math.abs));

/** What was gone before the estimation has no score. */
const whereThere = (values: Float32Array, signs: Float32Array): Float32Array =>
  values.map((value, i) => (Number.isNaN(signs[i]) ? NaN : value));

/** Of heads and neurons, by what an estimation measured, or none. */
const UNITS: Record<Estimator, (estimate: Estimate, norms: WeightNorms, random: Random) => Units> = {
  /** Light-PEFT and EarlyBERT: masks trained under an L1 penalty, signed. */
  l1: ({ masks }) => masks,
  'l1-absolute': ({ masks }) => ({ heads: absolute(masks.heads), neurons: absolute(masks.neurons) }),
  /** First-order Taylor of the loss in the masks (Molchanov et al. 2019). */
  taylor: ({ measures }) => ({ heads: measures.headTaylor, neurons: measures.neuronTaylor }),
  /** APT's salience of blocks. */
  'activation-gradient': ({ measures }) => ({
    heads: measures.headSalience,
    neurons: measures.neuronSalience,
  }),
  magnitude: (_, { heads, neurons }) => ({ heads, neurons }),
  /** Sun et al. 2024, by column: |W| times the norm of what it reads. */
  wanda: (estimate, norms) => byActivation(estimate, norms, (_, square) => square),
  /** FLAP (An et al. 2024): |W|^2 times the variance of what it reads. */
  fluctuation: (estimate, norms) => {
    const { heads, neurons } = byActivation(estimate, norms, (mean, square) =>
      Math.max(0, square - mean * mean),
    );
    const there = (scores: Float32Array[], signs: Float32Array[]) =>
      standardized(scores.map((values, l) => whereThere(values, signs[l]!)));
    return {
      heads: there(heads, estimate.masks.heads),
      neurons: there(neurons, estimate.masks.neurons),
    };
  },
  random: ({ masks }, _, random) => ({
    heads: drawn(masks.heads, random),
    neurons: drawn(masks.neurons, random),
  }),
};

/** Those whose scores say by how much the loss changes, of heads and neurons alike. */
const ADDITIVE: readonly Estimator[] = ['taylor', 'activation-gradient'];

export const MODULE_ESTIMATORS = ['ratio', 'taylor', 'random'] as const;
export type ModuleEstimator = (typeof MODULE_ESTIMATORS)[number];

type ModuleScores = Pick<Scores['modules'][number], 'ratio' | 'ranks'>;

const MODULES: Record<ModuleEstimator, (estimate: Estimate, random: Random) => ModuleScores[]> = {
  /** Light-PEFT: |branch| / |base| of modules, first order of ranks. */
  ratio: ({ modules, measures }) =>
    modules.map((_, i) => ({ ratio: measures.ratios[i]![0]!, ranks: measures.ranks[i]! })),
  /** By how much the loss changes, to first order, where a rank goes; a module is worth what its ranks are. */
  taylor: ({ modules, measures }) =>
    modules.map((_, i) => {
      const ranks = measures.rankTaylor[i]!;
      const there = ranks.filter((score) => !Number.isNaN(score));
      return { ratio: there.reduce((sum, score) => sum + score, 0), ranks };
    }),
  random: ({ modules, measures }, random) =>
    modules.map((_, i) => {
      const [[ratio], ranks] = drawn([[0], measures.ranks[i]!], random) as [Float32Array, Float32Array];
      return { ratio: ratio!, ranks };
    }),
};

/** Of an estimation. */
export const estimatorOf = ({ estimator = 'taylor' }: { estimator?: Estimator | undefined }): Estimator =>
  estimator;

export const moduleEstimatorOf = ({
  moduleEstimator = 'taylor',
}: {
  moduleEstimator?: ModuleEstimator | undefined;
}): ModuleEstimator => moduleEstimator;

/** Whether an estimator wants masks that are trained. */
export const trainsMasks = (estimator: Estimator): boolean => estimator.startsWith('l1');

/**
 * The Scores by which a Plan is made.
 * @throws {LightPeftError} BAD_OPTION: the estimation did not measure what the estimators read
 */
export function scoresOf(
  estimate: Estimate,
  by: { units: Estimator; modules: ModuleEstimator; seed: number },
  norms: WeightNorms,
): Scores {
  if (trainsMasks(by.units) && !trainsMasks(estimate.estimator))
    throw new LightPeftError(
      'BAD_OPTION',
      `--estimator: ${by.units} reads trained masks; the estimation was run for ${estimate.estimator}`,
    );
  if (by.modules === 'ratio' && estimate.moduleEstimator !== 'ratio')
    throw new LightPeftError(
      'BAD_OPTION',
      '--module-estimator: ratio is measured where estimate, too, is run with --module-estimator ratio',
    );
  const random = new Random(by.seed, 0x5c07e);
  const units = UNITS[by.units](estimate, norms, random);
  const modules = MODULES[by.modules](estimate, random);
  const { masks, measures } = estimate;
  return {
    fingerprint: estimate.fingerprint,
    steps: estimate.steps,
    together: ADDITIVE.includes(by.units),
    heads: units.heads.map((values, l) => whereThere(values, masks.heads[l]!)),
    neurons: units.neurons.map((values, l) => whereThere(values, masks.neurons[l]!)),
    modules: estimate.modules.map((place, i) => {
      const { ratio, ranks } = modules[i]!;
      const there = measures.rankTaylor[i]!.some((value) => !Number.isNaN(value));
      return { ...place, ratio: there ? ratio : NaN, ranks: whereThere(ranks, measures.rankTaylor[i]!) };
    }),
  };
}
