import { expect } from 'chai';
import { readExamples, type Columns, type ReadOptions } from '../../lib/data/examples.ts';
import { Files, failure } from './files.ts';

describe('examples', () => {
  const columns: Columns = { text: ['a', 'b'], label: 'label' };
  let files: Files;
  beforeEach(() => {
    files = new Files();
  });
  afterEach(() => files.dispose());

  const read = (lines: object[], wanted = columns, options?: ReadOptions) =>
    readExamples(
      files.write('x.jsonl', lines.map((line) => JSON.stringify(line)).join('\n')),
      wanted,
      options,
    );
  const refusal = (...args: Parameters<typeof read>) => failure(() => read(...args), files.folder);
  const labelled = (label: unknown) => ({ a: 'x', b: 'y', label });

  it('are a text or a pair, a label, and the number that the file gives', async () => {
    const lines = [
      { a: 'one', b: '', label: 1, idx: 7 },
      { a: ' two ', b: 'x', label: 'yes', idx: 3 },
    ];
    expect(await read(lines)).to.deep.equal([
      { idx: 7, line: 1, texts: ['one', ''], label: 1 },
      { idx: 3, line: 2, texts: [' two ', 'x'], label: 'yes' },
    ]);
    expect(await read(lines, { text: ['b'], label: null })).to.deep.equal([
      { idx: 7, line: 1, texts: [''], label: null },
      { idx: 3, line: 2, texts: ['x'], label: null },
    ]);
  });

  it('are numbered by their order where any row has no 32-bit integer of its own', async () => {
    const idxOf = async (...idx: unknown[]) =>
      (await read(idx.map((value) => ({ ...labelled(0), idx: value })))).map((example) => example.idx);
    expect(await idxOf(5, '6', -1)).to.deep.equal([5, 6, -1]);
    for (const odd of [undefined, null, 1.5, '1.0', 'x', '', 2 ** 31, { question: 1 }])
      expect(await idxOf(5, odd, 9)).to.deep.equal([0, 1, 2]);
  });

  it('take numbers for texts, and nothing else', async () => {
    expect((await read([{ a: 3.5, b: -1, label: 0 }]))[0]!.texts).to.deep.equal(['3.5', '-1']);
    const kinds = { null: null, 'a list': ['x'], 'an object': {}, 'a boolean': true };
    for (const [kind, value] of Object.entries(kinds))
      expect(await refusal([labelled(0), { a: 'x', b: value, label: 0 }])).to.equal(
        `BAD_DATA x.jsonl:2: column "b" holds ${kind} where a text is needed`,
      );
  });

  it('take numbers, strings, booleans and nothing for labels', async () => {
    const labels = [0, 2.5, 'x', ' ', '', null, true, false];
    const examples = await read(labels.map(labelled));
    expect(examples.map(({ label }) => label)).to.deep.equal([0, 2.5, 'x', ' ', null, null, 1, 0]);
    expect(await refusal([labelled([1])])).to.equal(
      'BAD_DATA x.jsonl:1: column "label" holds a list where a label is needed',
    );
  });

  it('may come without a label column where that is said to be fine', async () => {
    const options = { labelOptional: true };
    expect((await read([{ a: 'x', b: 'y' }], columns, options))[0]!.label).to.equal(null);
    expect((await read([labelled(1)], columns, options))[0]!.label).to.equal(1);
    expect(await refusal([{ a: 'x', b: 'y' }])).to.match(/no column "label"/);
  });

  it('name the columns there are where one is missing', async () => {
    expect(await refusal([labelled(0), { a: 'x', label: 0 }])).to.equal(
      'BAD_DATA x.jsonl:2: there is no column "b"; there are a, label',
    );
    expect(await refusal([labelled(0)], { text: ['toString'], label: null })).to.match(
      /no column "toString"; there are a, b, label/,
    );
    const file = files.write('y.csv', 'sentence,gold\nx,1\n');
    expect(await failure(() => readExamples(file, columns), files.folder)).to.equal(
      'BAD_DATA y.csv:2: there is no column "a"; there are sentence, gold',
    );
  });

  it('are filled into a template, once', async () => {
    const lines = [{ word: '{b}', a: '$& $1', b: 'end', label: 0 }];
    const options: ReadOptions = { template: ['{word}: {a}', '{b} {b}?'] };
    expect((await read(lines, columns, options))[0]!.texts).to.deep.equal(['{b}: $& $1', 'end end?']);
    expect(await refusal([labelled(0)], columns, options)).to.match(/no column "word"/);
  });

  it('are refused where there are none', async () => {
    for (const [name, text] of [
      ['a.csv', 'a,b,label\n'],
      ['b.tsv', ''],
      ['c.jsonl', '\n'],
    ] as const)
      expect(await failure(() => readExamples(files.write(name, text), columns), files.folder)).to.equal(
        `EMPTY_DATA ${name}: there is no example in it`,
      );
  });
});
