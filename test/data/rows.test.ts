import { expect } from 'chai';
import { readRows, type Row } from '../../lib/data/rows.ts';
import { Files, failure } from './files.ts';

describe('rows of a data file', () => {
  let files: Files;
  beforeEach(() => {
    files = new Files();
  });
  afterEach(() => files.dispose());

  const read = async (name: string, content: string | Uint8Array): Promise<Row[]> => {
    const rows: Row[] = [];
    for await (const row of readRows(files.write(name, content))) rows.push(row);
    return rows;
  };
  const refusal = (name: string, content: string | Uint8Array) =>
    failure(() => read(name, content), files.folder);
  const valuesOf = (rows: Row[]) => rows.map(({ values }) => values);

  describe('in JSON lines', () => {
    it('keep their types and their line, whatever ends it', async () => {
      const rows = await read('a.jsonl', '\uFEFF{"a":1,"b":null}\r\n\n  \r\n{"a":[true],"c":"x"}');
      expect(rows).to.deep.equal([
        { line: 1, values: { a: 1, b: null } },
        { line: 4, values: { a: [true], c: 'x' } },
      ]);
    });

    it('may hold the separators U+2028 and U+2029, which end no line', async () => {
      const rows = await read('a.json-lines', '{"a":"x\u2028y\u2029z\u0085"}\n');
      expect(valuesOf(rows)).to.deep.equal([{ a: 'x\u2028y\u2029z\u0085' }]);
    });

    it('survive the seams between the pieces in which a file is read', async () => {
      // Lengths that run through all remainders, so that seams fall into characters and line ends.
      const texts = Array.from({ length: 3000 }, (_, i) => '灯🚢é'.repeat(1 + (i % 17)) + 'x'.repeat(i % 7));
      const lines = texts.map((text) => JSON.stringify({ text }));
      const rows = await read('a.jsonl', lines.join('\r\n'));
      expect(rows.map(({ line }) => line)).to.deep.equal(texts.map((_, i) => i + 1));
      expect(rows.map(({ values }) => values['text'])).to.deep.equal(texts);
    });

    it('are none in an empty file', async () => {
      expect(await read('a.jsonl', '')).to.deep.equal([]);
      expect(await read('b.jsonl', '\n\r\n')).to.deep.equal([]);
    });

    it('are refused with their line where malformed', async () => {
      expect(await refusal('a.jsonl', '{"a":1}\n\n{"a":\n')).to.match(/^BAD_DATA a\.jsonl:3: .*JSON/);
      for (const value of ['[1]', '3', 'null', '"a"'])
        expect(await refusal('a.jsonl', `{}\n${value}`)).to.equal(
          'BAD_DATA a.jsonl:2: the line is not a JSON object',
        );
    });

    it('come one at a time', async () => {
      const file = files.write('a.jsonl', '{"a":1}\nnonsense');
      for await (const { values } of readRows(file)) {
        expect(values).to.deep.equal({ a: 1 });
        break;
      }
    });
  });

  describe('in CSV', () => {
    it('are strings, in which quotes may hide commas and line ends', async () => {
      const rows = await read('a.CSV', '\uFEFFa,"b,c"\r\n1,"x ""y""\nz"\r\n , \n');
      expect(rows).to.deep.equal([
        { line: 2, values: { a: '1', 'b,c': 'x "y"\nz' } },
        { line: 4, values: { a: ' ', 'b,c': ' ' } },
      ]);
    });

    it('survive the seams between the pieces in which a file is read', async () => {
      const texts = Array.from(
        { length: 5000 },
        (_, i) => `${'灯🚢'.repeat(i % 13)}, "${'x'.repeat(i % 7)}"`,
      );
      const lines = texts.map((text, i) => `${i},"${text.replaceAll('"', '""')}"`);
      const rows = await read('a.csv', ['n,text', ...lines].join('\r\n'));
      expect(valuesOf(rows)).to.deep.equal(texts.map((text, i) => ({ n: String(i), text })));
    });

    it('are none under a header alone, or in an empty file', async () => {
      expect(await read('a.csv', 'a,b\n')).to.deep.equal([]);
      expect(await read('b.csv', '')).to.deep.equal([]);
    });

    it('are refused with their line where they do not fit the header', async () => {
      expect(await refusal('a.csv', 'a,b\n"1\n2",3\n4\n')).to.equal(
        'BAD_DATA a.csv:4: 1 fields where the header has 2',
      );
      expect(await refusal('a.csv', 'a,b\n1,2,3\n')).to.equal(
        'BAD_DATA a.csv:2: 3 fields where the header has 2',
      );
      expect(await refusal('a.csv', 'a,b\n1,2\n\n3,4\n')).to.equal(
        'BAD_DATA a.csv:3: 1 fields where the header has 2',
      );
    });

    it('are refused with their line where a quote is never closed, or stands inside', async () => {
      expect(await refusal('a.csv', 'a,b\n1,2\n3,"4\n5,6\n')).to.match(
        /^BAD_DATA a\.csv:3: Quote Not Closed/,
      );
      expect(await refusal('a.csv', 'a,b\n1,x"2\n')).to.match(/^BAD_DATA a\.csv:2: Invalid Opening Quote/);
      const late = `a,b\n${'1,2\n'.repeat(5000)}"1"x,2\n`;
      expect(await refusal('a.csv', late)).to.match(/^BAD_DATA a\.csv:5002: Invalid Closing Quote/);
    });

    it('are refused where two columns have one name', async () => {
      expect(await refusal('a.csv', 'a,b,a\n1,2,3\n')).to.equal(
        'BAD_DATA a.csv:1: the header has the column "a" twice',
      );
    });
  });

  describe('in TSV', () => {
    it('take quotes and commas as they are', async () => {
      const rows = await read('a.tsv', 'a\tb\n"x\ty, "z"\r\n\t5"\n');
      expect(rows).to.deep.equal([
        { line: 2, values: { a: '"x', b: 'y, "z"' } },
        { line: 3, values: { a: '', b: '5"' } },
      ]);
    });

    it('may mix line ends, and keep a lone carriage return', async () => {
      const rows = await read('a.tsv', 'a\tb\r\n1\t2\n3\t4\r5\r\n');
      expect(valuesOf(rows)).to.deep.equal([
        { a: '1', b: '2' },
        { a: '3', b: '4\r5' },
      ]);
    });

    it('are refused where ragged', async () => {
      expect(await refusal('a.tsv', 'a\tb\n1\t2\n3\n')).to.equal(
        'BAD_DATA a.tsv:3: 1 fields where the header has 2',
      );
    });
  });

  it('may have names that objects inherit', async () => {
    const [row] = await read('a.csv', '__proto__,constructor\n1,2\n');
    expect(Object.entries(row!.values)).to.deep.equal([
      ['__proto__', '1'],
      ['constructor', '2'],
    ]);
  });

  it('are refused where the text is not UTF-8', async () => {
    const latin1 = Buffer.from('a,b\ncaf\u00e9,2\n', 'latin1');
    expect(await refusal('a.csv', latin1)).to.equal('BAD_DATA a.csv: the text is not UTF-8');
    expect(await refusal('a.jsonl', Buffer.from('{"a":1}\n{"b":"\u00e9"}', 'latin1'))).to.equal(
      'BAD_DATA a.jsonl: the text is not UTF-8',
    );
    expect(await refusal('b.jsonl', Buffer.from('\uFEFF{}', 'utf16le'))).to.equal(
      'BAD_DATA b.jsonl: the text is not UTF-8',
    );
    // Cut off inside a character.
    expect(await refusal('c.tsv', Buffer.from('a\né').subarray(0, -1))).to.equal(
      'BAD_DATA c.tsv: the text is not UTF-8',
    );
  });

  it('need a file whose name says what it is', async () => {
    const refused = (name: string) => failure(() => readRows(`${files.folder}/${name}`).next(), files.folder);
    expect(await refused('none.csv')).to.equal('BAD_DATA none.csv: no such file');
    expect(await refused('../' + files.folder.split('/').at(-1))).to.match(/this is a folder/);
    files.write('a.json', '[]');
    expect(await refused('a.json')).to.equal(
      'BAD_DATA a.json: the extension .json does not say how to read it; the known ones are ' +
        '.jsonl, .json-lines, .txt, .csv, .tsv',
    );
    files.write('data', '');
    expect(await refused('data')).to.match(/^BAD_DATA data: a name without extension .*\.tsv$/);
    expect(await refused('data/a.csv')).to.match(/^BAD_DATA ENOTDIR: .*data/);
  });
});
