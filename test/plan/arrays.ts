import { Random } from '../../lib/data/random.ts';

/** Scores in [0, 1); with `levels`, of so few values that many are equal. */
export const randomLayers = (
  random: Random,
  layers: number,
  width: number,
  levels?: number,
): Float32Array[] =>
  Array.from({ length: layers }, () =>
    Float32Array.from({ length: width }, () =>
      levels === undefined ? random.next() / 2 ** 32 : random.below(levels) / levels,
    ),
  );

export const equalLayers = (layers: number, width: number): Float32Array[] =>
  Array.from({ length: layers }, () => new Float32Array(width).fill(1));

export const total = (kept: readonly (readonly number[])[]): number =>
  kept.reduce((sum, { length }) => sum + length, 0);

export const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i);
