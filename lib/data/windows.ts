import { LightPeftError } from '../errors.ts';
import type { Located, Tokenizer } from '../tokenizer.ts';

export interface WindowOptions {
  /** In tokens, special ones included. */
  maxLength: number;
  /**
   * How many tokens of the second text a window shares with the one before. By default 128, as in transformers' run_qa,
   * or half of what a window has room for where that is less.
   */
  stride?: number | undefined;
  /** Of a pair, for the message. */
  where: (pair: number) => string;
}

const USUAL_STRIDE = 128;

/** Some of its tokens, in that order. */
const pick = (whole: Located, tokens: readonly number[]): Located => {
  const chosen = (values: Int32Array) => Int32Array.from(tokens, (t) => values[t]!);
  return {
    ids: chosen(whole.ids),
    typeIds: chosen(whole.typeIds),
    sequence: Int8Array.from(tokens, (t) => whole.sequence[t]!),
    begins: chosen(whole.begins),
    ends: chosen(whole.ends),
    truncated: false,
  };
};

const windowsOf = (
  whole: Located,
  { maxLength, stride }: Pick<WindowOptions, 'maxLength' | 'stride'>,
  where: string,
): Located[] => {
  if (whole.ids.length <= maxLength) return [whole];
  const all = [...whole.ids.keys()];
  const second = all.filter((t) => whole.sequence[t] === 1);
  const room = maxLength - (all.length - second.length);
  const shared = stride ?? Math.min(USUAL_STRIDE, Math.floor(room / 2));
  if (room < 1 || shared >= room)
    throw new LightPeftError(
      'BAD_OPTION',
      `${where}: a maximal length of ${maxLength} leaves room for ${Math.max(0, room)} tokens of the second text; ` +
        `that must be more than ${room < 1 ? 'none' : `the stride of ${shared}`}`,
    );
  const before = all.slice(0, second[0]);
  const after = all.slice(second.at(-1)! + 1);
  const windows: Located[] = [];
  for (let begin = 0, end = 0; end < second.length; begin = end - shared) {
    end = Math.min(second.length, begin + room);
    windows.push(pick(whole, [...before, ...second.slice(begin, end), ...after]));
  }
  return windows;
};

/**
 * Each pair as one window or more: all of the first text, and a piece of the second where that is too long. They are
 * those of transformers' `truncation='only_second'` with `return_overflowing_tokens`.
 * @throws {LightPeftError} BAD_OPTION: beside a first text there is no room for more than what windows share
 */
export async function encodeWindows(
  pairs: readonly [string, string][],
  tokenizer: Tokenizer,
  { maxLength, stride, where }: WindowOptions,
): Promise<Located[][]> {
  for (const count of [maxLength, stride ?? 0])
    if (!Number.isInteger(count) || count < 0)
      throw new LightPeftError(
        'BAD_OPTION',
        `lengths of windows and strides are counts of tokens, not ${count}`,
      );
  const whole = await tokenizer.encodeLocated(pairs, { maxLength: Number.MAX_SAFE_INTEGER });
  return whole.map((pair, i) => windowsOf(pair, { maxLength, stride }, where(i)));
}
