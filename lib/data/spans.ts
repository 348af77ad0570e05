import { LightPeftError } from '../errors.ts';
import type { Located, Tokenizer } from '../tokenizer.ts';
import type { EncodedExample } from './batches.ts';
import { Cells, isInteger, isText } from './cells.ts';
import { utf16Offsets } from './code-points.ts';
import { type Origin, withOrigin } from './origin.ts';
import { readRows, type Row } from './rows.ts';
import { encodeWindows, type WindowOptions } from './windows.ts';

/** Those of a question, of the text that may answer it, and of the answers as `datasets` writes SQuAD's. */
export interface SpanColumns {
  question: string;
  context: string;
  /** Of objects `{ text: [...], answer_start: [...] }`. */
  answers: string;
}

/** `text` is that of the context from `begin` to `end`, in UTF-16 code units, the end excluded. */
export interface Answer {
  text: string;
  begin: number;
  end: number;
}

export interface Asked extends Origin {
  /** The row's `id` column. */
  id?: string | undefined;
  question: string;
  context: string;
  /** Any of them is right; an empty list: the context has none; null: unlabelled. */
  answers: Answer[] | null;
}

/** A question with a piece of its context, T tokens in all. */
export interface SpanFeature extends EncodedExample {
  /** Which example it is of. */
  example: number;
  /** The first and the last token of the first answer; 0 and 0 where not all of it is in here; -1: unlabelled. */
  spans: [number, number];
  /** [T]: the part of the context that a token stands for, in UTF-16 code units; -1 for what is not of the context. */
  begins: Int32Array;
  ends: Int32Array;
}

/** `start` may count code points, as Python and so SQuAD does, or UTF-16 code units. */
const answerAt = (context: string, units: Int32Array, text: string, start: number): Answer | undefined => {
  const begin = [units[start], start].find(
    (at) => at !== undefined && at >= 0 && context.startsWith(text, at),
  );
  return begin === undefined ? undefined : { text, begin, end: begin + text.length };
};

const answersIn = (
  cells: Cells,
  row: Row,
  column: string,
  context: string,
  optional: boolean,
): Asked['answers'] => {
  const cell = cells.value(row, column, optional);
  if (optional && cell === null) return null;
  const { text, answer_start: starts } = (cell ?? {}) as Record<string, unknown>;
  if (!Array.isArray(text) || !Array.isArray(starts) || !text.every(isText) || !starts.every(isInteger))
    throw cells.wrong(row, column, '{ text: [texts], answer_start: [integers] }');
  if (text.length !== starts.length)
    throw cells.bad(
      row,
      `column "${column}" holds ${text.length} texts and ${starts.length} values of answer_start`,
    );
  const units = utf16Offsets(context);
  return text.map((one, i) => {
    const answer = answerAt(context, units, one, starts[i]!);
    if (answer !== undefined) return answer;
    throw cells.bad(row, `column "${column}": the context has no "${one}" at ${starts[i]!}`);
  });
};

const idOf = ({ values: { id } }: Row): string | undefined =>
  typeof id === 'string' || typeof id === 'number' ? String(id) : undefined;

/**
 * The questions of a data file, in its order.
 * @param options.answersOptional null, or no column of answers, is read as unlabelled
 * @throws {LightPeftError} BAD_DATA: the file cannot be read, lacks a column, a cell is not what it should be, or an
 *   answer is not in its context where it is said to be; EMPTY_DATA: it has no row
 */
export async function readSpans(
  file: string,
  columns: SpanColumns,
  { answersOptional = false }: { answersOptional?: boolean } = {},
): Promise<Asked[]> {
  const cells = new Cells(file);
  const examples: Omit<Asked, keyof Origin>[] = [];
  const rows: { line: number; idx: unknown }[] = [];
  for await (const row of readRows(file)) {
    const context = cells.text(row, columns.context);
    rows.push({ line: row.line, idx: row.values['idx'] });
    examples.push({
      id: idOf(row),
      question: cells.text(row, columns.question),
      context,
      answers: answersIn(cells, row, columns.answers, context, answersOptional),
    });
  }
  return withOrigin(file, examples, rows);
}

/** Whether a question is there that its context does not answer, as in SQuAD 2. */
export const someUnanswerable = (examples: readonly Pick<Asked, 'answers'>[]): boolean =>
  examples.some(({ answers }) => answers?.every(({ text }) => text === '') ?? false);

/** Of what is not labelled. */
const UNKNOWN: [number, number] = [-1, -1];

const LEADING = /^\s*/;

/** The first and last token of an answer; 0 and 0, the first token of all, where not all of it is in the window. */
const spanIn = ({ sequence, begins, ends }: Located, answer: Answer | undefined): [number, number] => {
  if (answer === undefined) return [0, 0];
  // No token need stand for the spaces around it.
  const begin = answer.begin + LEADING.exec(answer.text)![0].length;
  const end = answer.begin + answer.text.trimEnd().length;
  const first = sequence.indexOf(1);
  const last = sequence.lastIndexOf(1);
  if (begin >= end || first < 0 || begins[first]! > begin || ends[last]! < end) return [0, 0];
  const inside = [...sequence.keys()].filter(
    (t) => t >= first && t <= last && ends[t]! > begin && begins[t]! < end,
  );
  return inside.length === 0 ? [0, 0] : [inside[0]!, inside.at(-1)!];
};

/**
 * One feature or more for each question, in their order. As in transformers' run_qa, spaces before a question are left
 * out.
 * @throws {LightPeftError} BAD_OPTION: a question leaves no room for its context; BAD_DATA: a question has no token, not
 *   even a special one, so that no token is left to say that there is no answer
 */
export async function encodeSpans(
  examples: readonly Asked[],
  tokenizer: Tokenizer,
  { file, ...options }: Omit<WindowOptions, 'where'> & { file: string },
): Promise<SpanFeature[]> {
  const whereOf = ({ line }: Asked) => `${file}:${line}`;
  const windows = await encodeWindows(
    examples.map(({ question, context }) => [question.trimStart(), context]),
    tokenizer,
    { ...options, where: (i) => whereOf(examples[i]!) },
  );
  return examples.flatMap((asked, example) =>
    windows[example]!.map((window) => {
      const { ids, typeIds, truncated, sequence } = window;
      if (ids.length === 0 || sequence[0] === 1)
        throw new LightPeftError('BAD_DATA', `${whereOf(asked)}: the question has no token`);
      const inContext = (offsets: Int32Array) =>
        offsets.map((offset, t) => (sequence[t] === 1 ? offset : -1));
      return {
        ...{ idx: asked.idx, example, label: NaN, ids, typeIds, truncated },
        spans: asked.answers === null ? UNKNOWN : spanIn(window, asked.answers[0]),
        begins: inContext(window.begins),
        ends: inContext(window.ends),
      };
    }),
  );
}
