import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { extname } from 'node:path';
import { Readable, pipeline } from 'node:stream';
import { CsvError, parse, type Info, type Options } from 'csv-parse';
import { LightPeftError, messageOf } from '../errors.ts';

/** One record of a data file. `line` is the 1-based line on which it begins. */
export type Row = { line: number; values: Record<string, unknown> };

type Reader = (file: string) => AsyncIterable<Row>;

const bad = (message: string, cause?: unknown) => new LightPeftError('BAD_DATA', message, { cause });

/** The file's text in pieces, without its BOM. */
async function* textOf(file: string): AsyncGenerator<string> {
  // A lossy decoder would turn Latin-1 letters into U+FFFD, and a model would be trained on these.
  const decoder = new TextDecoder('utf-8', { fatal: true });
  try {
    for await (const bytes of createReadStream(file)) yield decoder.decode(bytes as Buffer, { stream: true });
    yield decoder.decode();
  } catch (error) {
    const notText = error instanceof TypeError;
    throw bad(`${file}: ${notText ? 'the text is not UTF-8' : messageOf(error)}`, error);
  }
}

/** Not node:readline, which also ends a line at U+2028, and JSON allows that character inside a string. */
async function* linesOf(file: string): AsyncGenerator<string> {
  let pieces: string[] = []; // of the line under way, joined once: it may be long
  const line = () => {
    try {
      return pieces.join('');
    } catch (error) {
      throw bad(`${file}: a line is longer than a text can be`, error);
    }
  };
  for await (const text of textOf(file)) {
    const [first, ...others] = text.split('\n') as [string, ...string[]];
    pieces.push(first);
    for (const next of others) {
      yield line();
      pieces = [next];
    }
  }
  yield line();
}

async function* jsonRows(file: string): AsyncGenerator<Row> {
  let line = 0;
  for await (const text of linesOf(file)) {
    line++;
    if (text.trim() === '') continue;
    let values: unknown;
    try {
      values = JSON.parse(text);
    } catch (error) {
      throw bad(`${file}:${line}: ${messageOf(error)}`, error);
    }
    if (typeof values !== 'object' || values === null || Array.isArray(values))
      throw bad(`${file}:${line}: the line is not a JSON object`);
    yield { line, values: values as Row['values'] };
  }
}

async function* textRows(file: string): AsyncGenerator<Row> {
  let line = 0;
  for await (const text of linesOf(file)) {
    line++;
    if (text.trim() !== '') yield { line, values: { text: text.replace(/\r$/, '') } };
  }
}

const headerOf = (file: string, fields: string[]): string[] => {
  const repeated = fields.find((name, i) => fields.indexOf(name) !== i);
  // Only the last of the two columns would be seen.
  if (repeated !== undefined) throw bad(`${file}:1: the header has the column "${repeated}" twice`);
  return fields;
};

const together = (header: string[], record: string[]): Record<string, string> =>
  Object.fromEntries(header.map((name, i) => [name, record[i]!]));

const tableRows = (options: Options): Reader =>
  async function* (file) {
    let read = 0; // lines, by the parser, which is ahead of the rows that are taken
    const parser = parse({
      ...options,
      info: true,
      on_record: (record: string[], { lines }) => {
        read = lines;
        return record;
      },
      // Whatever the first line ends with; csv-parse would hold the others to it.
      record_delimiter: ['\r\n', '\n'],
      // Checked below, where a short last row and a long one get the same message.
      relax_column_count: true,
    });
    // The parser, which is read below, throws what the callback is told.
    pipeline(Readable.from(textOf(file)), parser, () => undefined);
    let header: string[] | undefined;
    let end = 0;
    try {
      for await (const one of parser) {
        const { record, info } = one as { record: string[]; info: Info };
        const line = end + 1;
        end = info.lines;
        if (header === undefined) header = headerOf(file, record);
        else if (record.length === header.length) yield { line, values: together(header, record) };
        else throw bad(`${file}:${line}: ${record.length} fields where the header has ${header.length}`);
      }
    } catch (error) {
      if (!(error instanceof CsvError)) throw error;
      throw bad(`${file}:${read + 1}: ${messageOf(error)}`, error);
    }
  };

const READERS: Record<string, Reader> = {
  '.jsonl': jsonRows,
  '.json-lines': jsonRows,
  '.txt': textRows,
  '.csv': tableRows({ delimiter: ',' }),
  // GLUE's files hold stray quotes, which mean themselves.
  '.tsv': tableRows({ delimiter: '\t', quote: false }),
};

/**
 * The rows of a .jsonl, .json-lines, .txt, .csv or .tsv file, in order. Values are what JSON says, or strings; a line of
 * .txt is the column `text`. The text is UTF-8, with or without BOM, and lines end in LF or CRLF. Blank lines are skipped
 * in JSON lines and plain text only.
 * @throws {LightPeftError} BAD_DATA naming the file, and the line where there is one
 */
export async function* readRows(file: string): AsyncGenerator<Row> {
  const found = await stat(file).catch((error: unknown) => {
    const missing = (error as NodeJS.ErrnoException).code === 'ENOENT';
    throw bad(missing ? `${file}: no such file` : messageOf(error), error);
  });
  if (found.isDirectory()) throw bad(`${file}: this is a folder, not a data file`);
  const extension = extname(file);
  const reader = READERS[extension.toLowerCase()];
  if (reader === undefined)
    throw bad(
      `${file}: ${extension === '' ? 'a name without extension' : `the extension ${extension}`} does not say how to ` +
        `read it; the known ones are ${Object.keys(READERS).join(', ')}`,
    );
  yield* reader(file);
}
