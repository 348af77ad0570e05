import { LightPeftError } from '../errors.ts';
import { readRows, type Row } from './rows.ts';

/** What one sequence is made from: a text, or a pair of them. */
export type Texts = [string] | [string, string];

/** The names of the columns to read; `label: null` reads none. */
export interface Columns {
  text: Texts;
  label: string | null;
}

/**
 * Texts with `{column}` where a column goes, for a task that does not feed its columns as they are;
 * `{column:a=x,b=y}` puts x for a and y for b.
 */
export type Template = Texts;

export interface ReadOptions {
  /** Used in place of `columns.text`. */
  template?: Template | undefined;
  /** Likewise, one for each choice. */
  choices?: readonly Template[] | undefined;
  /** A file without the label column is read as unlabelled. */
  labelOptional?: boolean | undefined;
}

export interface Example {
  /** The row's `idx` column where every row has a 32-bit integer there, else its 0-based order. */
  idx: number;
  texts: Texts;
  /** Where it is to be told which of some texts it is, all of them; `texts` are the first. */
  choices?: Texts[];
  /** null: unlabelled. */
  label: string | number | null;
}

/** Rows of one file, and how to complain about them. */
class Cells {
  readonly #file: string;

  constructor(file: string) {
    this.#file = file;
  }

  text({ line, values }: Row, column: string): string {
    const value = this.#value(line, values, column);
    if (typeof value === 'string') return value;
    if (typeof value === 'number') return String(value);
    throw this.#bad(line, `column "${column}" holds ${kindOf(value)} where a text is needed`);
  }

  label({ line, values }: Row, column: string, optional: boolean): string | number | null {
    if (optional && !Object.hasOwn(values, column)) return null;
    const value = this.#value(line, values, column);
    if (typeof value === 'string') return value === '' ? null : value;
    if (typeof value === 'number' || value === null) return value;
    // SuperGLUE's own files write BoolQ's and WiC's labels so; their class 1 is true.
    if (typeof value === 'boolean') return Number(value);
    throw this.#bad(line, `column "${column}" holds ${kindOf(value)} where a label is needed`);
  }

  /** What stands for a value in a list such as a=x,b=y. */
  word({ line }: Row, column: string, value: string, words: string): string {
    const pair = words.split(',').find((one) => one.startsWith(`${value}=`));
    if (pair === undefined) throw this.#bad(line, `column "${column}" holds "${value}", not one of ${words}`);
    return pair.slice(value.length + 1);
  }

  #value(line: number, values: Row['values'], column: string): unknown {
    if (Object.hasOwn(values, column)) return values[column];
    throw this.#bad(line, `there is no column "${column}"; there are ${Object.keys(values).join(', ')}`);
  }

  #bad(line: number, what: string): LightPeftError {
    return new LightPeftError('BAD_DATA', `${this.#file}:${line}: ${what}`);
  }
}

const kindOf = (value: unknown): string => {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'an array';
  return typeof value === 'object' ? 'an object' : `a ${typeof value}`;
};

/** The integer, or undefined where it is none or would not fit into the Int32Array of a batch. */
const integerOf = (value: unknown): number | undefined => {
  const text = typeof value === 'string' && /^-?\d+$/.test(value);
  const number = text ? Number(value) : value;
  return typeof number === 'number' && (number | 0) === number ? number : undefined;
};

/**
 * The examples of a data file, in its order.
 * @throws {LightPeftError} BAD_DATA: the file cannot be read, lacks a column, or a cell is no text or label;
 *   EMPTY_DATA: it has no row
 */
export const readExamples = async (
  file: string,
  columns: Columns,
  { template, choices, labelOptional = false }: ReadOptions = {},
): Promise<Example[]> => {
  const cells = new Cells(file);
  const examples: Example[] = [];
  let numbered = true;
  for await (const row of readRows(file)) {
    const read = (column: string) => cells.text(row, column);
    const fill = (pattern: string) =>
      pattern.replace(/\{(.*?)\}/g, (_, inner: string) => {
        const [, column, words] = /^(.*?):(.*=.*)$/.exec(inner) ?? [];
        return words === undefined ? read(inner) : cells.word(row, column!, read(column!), words);
      });
    const all = choices?.map((choice) => choice.map(fill) as Texts);
    const texts = all?.[0] ?? ((template?.map(fill) ?? columns.text.map(read)) as Texts);
    const label = columns.label === null ? null : cells.label(row, columns.label, labelOptional);
    const idx = integerOf(row.values['idx']);
    // All or none: a row's order could be another row's idx.
    numbered &&= idx !== undefined;
    examples.push({ idx: idx ?? -1, texts, ...(all && { choices: all }), label });
  }
  if (examples.length === 0) throw new LightPeftError('EMPTY_DATA', `${file}: there is no example in it`);
  return numbered ? examples : examples.map((example, idx) => ({ ...example, idx }));
};
