import { LightPeftError } from '../errors.ts';
import type { Row } from './rows.ts';

export const isText = (value: unknown): value is string => typeof value === 'string';
export const isInteger = (value: unknown): value is number => Number.isInteger(value);

/** Rows of one file, and how to complain about them. */
export class Cells {
  readonly #file: string;

  constructor(file: string) {
    this.#file = file;
  }

  text(row: Row, column: string): string {
    const value = this.value(row, column);
    if (typeof value === 'string') return value;
    if (typeof value === 'number') return String(value);
    throw this.wrong(row, column, 'a text');
  }

  label(row: Row, column: string, optional: boolean): string | number | null {
    const value = this.value(row, column, optional);
    if (typeof value === 'string') return value === '' ? null : value;
    if (Number.isFinite(value) || value === null) return value as number | null;
    // SuperGLUE's own files write BoolQ's and WiC's labels so; their class 1 is true.
    if (typeof value === 'boolean') return Number(value);
    throw this.wrong(row, column, 'a label');
  }

  /** What comes before or after the first blank of a text. */
  beside(row: Row, column: string, blank: string, before: boolean): string {
    const text = this.text(row, column);
    const at = text.indexOf(blank);
    if (at < 0) throw this.bad(row, `column "${column}" holds a text without "${blank}"`);
    return before ? text.slice(0, at) : text.slice(at + blank.length);
  }

  /** What stands for a value in a list such as a=x,b=y. */
  word(row: Row, column: string, value: string, words: string): string {
    const pair = words.split(',').find((one) => one.startsWith(`${value}=`));
    if (pair === undefined) throw this.bad(row, `column "${column}" holds "${value}", not one of ${words}`);
    return pair.slice(value.length + 1);
  }

  /** What a column holds; null where it may be absent and is. */
  value(row: Row, column: string, optional = false): unknown {
    if (Object.hasOwn(row.values, column)) return row.values[column];
    if (optional) return null;
    throw this.bad(row, `there is no column "${column}"; there are ${Object.keys(row.values).join(', ')}`);
  }

  /** That a column holds something else than what is needed. */
  wrong(row: Row, column: string, needed: string): LightPeftError {
    return this.bad(
      row,
      `column "${column}" holds ${kindOf(row.values[column], needed)} where ${needed} is needed`,
    );
  }

  bad({ line }: Row, what: string): LightPeftError {
    return new LightPeftError('BAD_DATA', `${this.#file}:${line}: ${what}`);
  }
}

const kindOf = (value: unknown, needed: string): string => {
  if (value === null) return 'null';
  if (Array.isArray(value)) return needed.startsWith('a list') ? 'a list of something else' : 'a list';
  return typeof value === 'object' ? 'an object' : `a ${typeof value}`;
};
