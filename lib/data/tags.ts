import { LightPeftError } from '../errors.ts';
import type { Texts } from './examples.ts';
import type { Located, Tokenizer } from '../tokenizer.ts';
import type { EncodedExample } from './batches.ts';
import { Cells, isInteger, isText } from './cells.ts';
import { UNTOLD } from './completions.ts';
import { type Origin, withOrigin } from './origin.ts';
import { encodeLabel, inferLabels } from './labels.ts';
import { readRows, type Row } from './rows.ts';

/** The columns of lists: words, and a tag for each. */
export interface TagColumns {
  words: string;
  tags: string;
}

export interface Tagged extends Origin {
  words: string[]; // [W]
  /** [W]: names or class indices, -100 for a word that is not to be told; null: unlabelled. */
  tags: (string | number)[] | null;
}

export interface EncodedTags extends EncodedExample {
  /** [T]: at the first token of each word the index of its tag. */
  tokenLabels: Int32Array;
  /** [W]: where in the sequence the first token of each word is; -1: it has none, or that was cut off. */
  words: Int32Array;
}

const isName = (value: unknown): value is string => isText(value) && value !== '';

const wordsOf = (cells: Cells, row: Row, column: string): string[] => {
  const words = cells.value(row, column);
  if (!Array.isArray(words) || !words.every(isText)) throw cells.wrong(row, column, 'a list of words');
  if (words.length === 0) throw cells.bad(row, `column "${column}" holds no word`);
  return words;
};

const tagsOf = (
  cells: Cells,
  row: Row,
  column: string,
  { count, optional }: { count: number; optional: boolean },
): Tagged['tags'] => {
  const tags = cells.value(row, column, optional);
  if (optional && tags === null) return null;
  if (!Array.isArray(tags) || !(tags.every(isName) || tags.every(isInteger)))
    throw cells.wrong(row, column, 'a list of tags, all names or all integers,');
  if (tags.length !== count)
    throw cells.bad(row, `column "${column}" holds ${tags.length} tags for ${count} words`);
  return tags;
};

/**
 * The examples of a data file whose rows hold lists, in its order.
 * @param options.tagsOptional null, or no column of tags, is read as unlabelled
 * @throws {LightPeftError} BAD_DATA: the file cannot be read, lacks a column, a cell is no such list, the list of words
 *   is empty, or there are more or fewer tags than words; EMPTY_DATA: it has no row
 */
export async function readTagged(
  file: string,
  columns: TagColumns,
  { tagsOptional = false }: { tagsOptional?: boolean } = {},
): Promise<Tagged[]> {
  const cells = new Cells(file);
  const examples: Omit<Tagged, keyof Origin>[] = [];
  const rows: { line: number; idx: unknown }[] = [];
  for await (const row of readRows(file)) {
    const words = wordsOf(cells, row, columns.words);
    const tags = tagsOf(cells, row, columns.tags, { count: words.length, optional: tagsOptional });
    rows.push({ line: row.line, idx: row.values['idx'] });
    examples.push({ words, tags });
  }
  return withOrigin(file, examples, rows);
}

/**
 * The names of the tags in a training file: the words that occur, sorted, "O" first; else the
 * integers from 0 to the highest.
 * @throws {LightPeftError} as `inferLabels` does
 */
export function inferTags(examples: readonly Pick<Tagged, 'tags'>[], file: string): string[] {
  const labels = examples.flatMap(({ tags }) =>
    (tags ?? []).filter((tag) => tag !== UNTOLD).map((label) => ({ label })),
  );
  const set = inferLabels(labels, file);
  if (set.kind !== 'classes')
    throw new LightPeftError('BAD_LABEL', `${file}: the tags are numbers that are not whole`);
  if (!set.names.includes('O')) return set.names;
  return ['O', ...set.names.filter((name) => name !== 'O')];
}

/**
 * Where the first token of each word is. The space before a word is its own, as where transformers is given a list of
 * words; a token that reaches over two words is the first one's.
 */
const firstTokens = (words: readonly string[], { sequence, begins, ends }: Located): Int32Array => {
  let token = 0;
  let past = -1;
  return Int32Array.from(words, (word) => {
    const end = past + 1 + word.length;
    while (token < ends.length && (sequence[token]! < 0 || ends[token]! <= past)) token++;
    past = end;
    return token < ends.length && begins[token]! < end ? token++ : -1;
  });
};

/**
 * Words joined by spaces, as sequences of tokens.
 * @param names of the tags
 * @throws {LightPeftError} BAD_LABEL: a tag is none of them; BAD_DATA: there is no token in an example
 */
export async function encodeTags(
  examples: readonly Tagged[],
  names: readonly string[],
  tokenizer: Tokenizer,
  { maxLength, file, unlabelled = false }: { maxLength: number; file: string; unlabelled?: boolean },
): Promise<EncodedTags[]> {
  const all = await tokenizer.encodeLocated(
    examples.map(({ words }): Texts => [words.join(' ')]),
    { maxLength },
  );
  const set = { kind: 'classes' as const, names: [...names] };
  return examples.map(({ idx, line, words: texts, tags }, i) => {
    const { ids, typeIds, truncated } = all[i]!;
    if (ids.length === 0) throw new LightPeftError('BAD_DATA', `${file}:${line}: the words have no token`);
    const words = firstTokens(texts, all[i]!);
    const tokenLabels = new Int32Array(ids.length).fill(UNTOLD);
    tags?.forEach((tag, w) => {
      if (tag === UNTOLD) return;
      const label = encodeLabel(tag, set, `${file}:${line}, word ${w + 1}`, {
        unlabelled: unlabelled ? 'allow' : 'refuse',
      });
      if (words[w]! >= 0 && !Number.isNaN(label)) tokenLabels[words[w]!] = label;
    });
    return { idx, label: NaN, ids, typeIds, truncated, tokenLabels, words };
  });
}
