import { LightPeftError } from '../errors.ts';

/** The integer, or undefined where it is none or would not fit into the Int32Array of a batch. */
const integerOf = (value: unknown): number | undefined => {
  const text = typeof value === 'string' && /^-?\d+$/.test(value);
  const number = text ? Number(value) : value;
  return typeof number === 'number' && (number | 0) === number ? number : undefined;
};

/**
 * Examples with the `idx` of their rows where every row gives one, a 32-bit integer; else with their 0-based order.
 * @throws {LightPeftError} EMPTY_DATA: there is no example
 */
export const withIdx = <T extends object>(
  file: string,
  examples: readonly T[],
  given: readonly unknown[],
): (T & { idx: number })[] => {
  if (examples.length === 0) throw new LightPeftError('EMPTY_DATA', `${file}: there is no example in it`);
  const integers = given.map(integerOf);
  // All or none: a row's order could be another row's idx.
  const numbered = integers.every((idx) => idx !== undefined);
  return examples.map((example, i) => ({ idx: numbered ? integers[i]! : i, ...example }));
};
