/** 'layer' compares the scores of each layer among themselves, 'global' those of all layers. */
export type Scope = 'layer' | 'global';

export interface SelectOptions {
  scope: Scope;
  /** Every layer keeps this many, or all of a smaller one, whatever the ratio. */
  atLeast: number;
  /** Of a layer so many stay at a time: the best of those that would go fill up the last ones. By default 1. */
  roundTo?: number;
}

type Values = readonly ArrayLike<number>[];

// A NaN would make an order out of nothing; whatever could not be scored is the first to go.
const comparable = (scores: ArrayLike<number>): Float64Array =>
  Float64Array.from(scores, (score) => (Number.isNaN(score) ? -Infinity : score));

/** Indices, best first; of equal scores the lower index is the better. */
const ranked = (scores: Float64Array): Uint32Array =>
  // Two infinities differ by NaN, which leaves it to the indices as 0 does.
  Uint32Array.from(scores.keys()).sort((a, b) => scores[b]! - scores[a]! || a - b);

/** Indices, best first; NaN counts as the lowest score, and of equal ones the lower index is the better. */
export const bestFirst = (scores: ArrayLike<number>): number[] => [...ranked(comparable(scores))];

/** What some of these are worth together: those that could not be scored nothing, unless none of them could. */
export const worthOf = (units: readonly number[], scores: ArrayLike<number>): number => {
  const scored = units.map((i) => scores[i]!).filter((score) => !Number.isNaN(score));
  return scored.length > 0 ? scored.reduce((sum, score) => sum + score, 0) : NaN;
};

const joined = (layers: readonly Float64Array[]): Float64Array => {
  const all = new Float64Array(layers.reduce((sum, layer) => sum + layer.length, 0));
  let at = 0;
  for (const layer of layers) {
    all.set(layer, at);
    at += layer.length;
  }
  return all;
};

const floorsOf = (layers: readonly Float64Array[], atLeast: number): number[] =>
  layers.map((layer) => Math.min(atLeast, layer.length));

/** The best `counts[i]` of each layer and what fills them up, in ascending order. */
const best = (layers: readonly Float64Array[], counts: readonly number[], roundTo: number): number[][] =>
  layers.map((layer, i) => [
    ...ranked(layer)
      .subarray(0, Math.ceil(counts[i]! / roundTo) * roundTo)
      .sort(),
  ]);

const countToKeep = (n: number, ratio: number): number => n - Math.round(ratio * n);

/** How many of each layer are among the best of all, once every layer has its floor. */
const sharedCounts = (
  layers: readonly Float64Array[],
  ratio: number,
  floors: readonly number[],
): number[] => {
  const all = joined(layers);
  const owners = layers.flatMap((layer, i) => new Array<number>(layer.length).fill(i));
  const counts = [...floors];
  const seen = layers.map(() => 0);
  // The floors are paid from the same budget, so that the total is still exact where it can be.
  let spare = countToKeep(all.length, ratio) - floors.reduce((sum, floor) => sum + floor, 0);
  for (const index of ranked(all)) {
    if (spare <= 0) break;
    const owner = owners[index]!;
    if (++seen[owner]! <= floors[owner]!) continue;
    counts[owner]!++;
    spare--;
  }
  return counts;
};

/**
 * Prunes exactly round(ratio · n), of each layer or in all, whatever the ties; more is kept only where `atLeast`
 * or `roundTo` demands it. NaN counts as the lowest score.
 * @param ratio in [0, 1)
 * @returns for each layer the kept indices, ascending
 */
export const keepTop = (
  scores: Values,
  ratio: number,
  { scope, atLeast, roundTo = 1 }: SelectOptions,
): number[][] => {
  const layers = scores.map(comparable);
  const floors = floorsOf(layers, atLeast);
  const counts =
    scope === 'global'
      ? sharedCounts(layers, ratio, floors)
      : layers.map((layer, i) => Math.max(floors[i]!, countToKeep(layer.length, ratio)));
  return best(layers, counts, roundTo);
};

/**
 * `numpy.quantile(scores, ratio, method="linear")`, to the last bit; NaN for no scores. NaN counts as the lowest
 * score.
 */
export const quantile = (scores: ArrayLike<number>, ratio: number): number => {
  const sorted = comparable(scores).sort();
  if (sorted.length === 0) return NaN;
  const position = (sorted.length - 1) * ratio;
  const below = Math.floor(position);
  const low = sorted[below]!;
  const high = sorted[Math.min(below + 1, sorted.length - 1)]!;
  const gap = high - low;
  // Between a number and an infinity nothing can be interpolated; any value from `low` up to `high` keeps the same.
  if (!Number.isFinite(gap)) return low;
  const part = position - below;
  // numpy starts from the nearer end, which rounds differently.
  return part < 0.5 ? low + gap * part : high - gap * (1 - part);
};

/**
 * The rule of Light-PEFT and EarlyBERT: keeps what scores strictly above the quantile. For distinct scores it prunes
 * floor(ratio · (n - 1)) + 1; equal scores go together, all of them maybe, and then `atLeast` keeps the best.
 * @param ratio in [0, 1); 0 prunes the lowest score all the same
 * @returns for each layer the kept indices, ascending
 */
export const keepAboveQuantile = (
  scores: Values,
  ratio: number,
  { scope, atLeast, roundTo = 1 }: SelectOptions,
): number[][] => {
  const layers = scores.map(comparable);
  const floors = floorsOf(layers, atLeast);
  const shared = scope === 'global' ? quantile(joined(layers), ratio) : undefined;
  const counts = layers.map((layer, i) => {
    const threshold = shared ?? quantile(layer, ratio);
    return Math.max(floors[i]!, layer.filter((score) => score > threshold).length);
  });
  return best(layers, counts, roundTo);
};
