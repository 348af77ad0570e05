import { LightPeftError } from '../errors.ts';

/** The integer, or undefined where it is none or would not fit into the Int32Array of a batch. */
const integerOf = (value: unknown): number | undefined => {
  const text = typeof value === 'string' && /^-?\d+$/.test(value);
  const number = text ? Number(value) : value;
  return typeof number === 'number' && (number | 0) === number ? number : undefined;
};

/** Where an example comes from. */
export interface Origin {
  /** The row's `idx` column where every row has a 32-bit integer there, else its 0-based order. */
  idx: number;
  /** On which its row begins, from 1. */
  line: number;
}

/**
 * Examples with the `idx` of their rows where every row gives one, a 32-bit integer; else with their 0-based order.
 * @throws {LightPeftError} EMPTY_DATA: there is no example
 */
export const withOrigin = <T extends object>(
  file: string,
  examples: readonly T[],
  rows: readonly { line: number; idx: unknown }[],
): (T & Origin)[] => {
  if (examples.length === 0) throw new LightPeftError('EMPTY_DATA', `${file}: there is no example in it`);
  const integers = rows.map(({ idx }) => integerOf(idx));
  // All or none: a row's order could be another row's idx.
  const numbered = integers.every((idx) => idx !== undefined);
  return examples.map((example, i) => ({
    ...{ idx: numbered ? integers[i]! : i, line: rows[i]!.line },
    ...example,
  }));
};
