import { Cells } from './cells.ts';
import { type Origin, withOrigin } from './origin.ts';
import { readRows } from './rows.ts';

/** What one sequence is made from: a text, or a pair of them. */
export type Texts = [string] | [string, string];

/** The names of the columns to read; `label: null` reads none. */
export interface Columns {
  text: Texts;
  label: string | null;
}

/**
 * Texts with `{column}` where a column goes, for a task that does not feed its columns as they are;
 * `{column:a=x,b=y}` puts x for a and y for b, `{column<_}` what comes before the first `_` of a text, and `{column>_}` what
 * comes after it.
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

export interface Example extends Origin {
  texts: Texts;
  /** Where it is to be told which of some texts it is, all of them; `texts` are the first. */
  choices?: Texts[];
  /** null: unlabelled. */
  label: string | number | null;
}

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
  const examples: Omit<Example, keyof Origin>[] = [];
  const rows: { line: number; idx: unknown }[] = [];
  for await (const row of readRows(file)) {
    const read = (column: string) => cells.text(row, column);
    const fill = (pattern: string) =>
      pattern.replace(/\{(.*?)\}/g, (_, inner: string) => {
        const [, text, side, blank] = /^(.+)([<>])(.+)$/.exec(inner) ?? [];
        if (text !== undefined) return cells.beside(row, text, blank!, side === '<');
        const [, column, words] = /^(.*?):(.*=.*)$/.exec(inner) ?? [];
        return words === undefined ? read(inner) : cells.word(row, column!, read(column!), words);
      });
    const all = choices?.map((choice) => choice.map(fill) as Texts);
    const texts = all?.[0] ?? ((template?.map(fill) ?? columns.text.map(read)) as Texts);
    const label = columns.label === null ? null : cells.label(row, columns.label, labelOptional);
    rows.push({ line: row.line, idx: row.values['idx'] });
    examples.push({ texts, ...(all && { choices: all }), label });
  }
  return withOrigin(file, examples, rows);
};
