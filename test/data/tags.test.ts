import { expect } from 'chai';
import { encodeTags, inferTags, readTagged, type Tagged } from '../../lib/data/tags.ts';
import { Files, failure } from './files.ts';
import { tokenizerOf, truth } from './token-tasks.ts';

const columns = { words: 'tokens', tags: 'ner_tags' };
const lines = (rows: readonly object[]): string => rows.map((row) => JSON.stringify(row)).join('\n');

describe('tagged words', () => {
  let files: Files;
  beforeEach(() => {
    files = new Files();
  });
  afterEach(() => files.dispose());

  const read = (rows: readonly object[], tagsOptional = false) =>
    readTagged(files.write('x.jsonl', lines(rows)), columns, { tagsOptional });

  it('are read with names or integers', async () => {
    expect(
      await read([
        { tokens: ['a', 'b'], ner_tags: ['O', 'B-X'] },
        { tokens: ['c'], ner_tags: [3] },
      ]),
    ).to.deep.equal([
      { idx: 0, line: 1, words: ['a', 'b'], tags: ['O', 'B-X'] },
      { idx: 1, line: 2, words: ['c'], tags: [3] },
    ]);
    expect(await read([{ idx: 7, tokens: ['a'], ner_tags: [0] }])).to.deep.equal([
      { idx: 7, line: 1, words: ['a'], tags: [0] },
    ]);
  });

  it('may have no tags where that is allowed', async () => {
    const rows = [{ tokens: ['a'] }, { tokens: ['a'], ner_tags: null }];
    expect((await read(rows, true)).map(({ tags }) => tags)).to.deep.equal([null, null]);
    expect(await failure(() => read([rows[0]!]), files.folder)).to.equal(
      'BAD_DATA x.jsonl:1: there is no column "ner_tags"; there are tokens',
    );
    expect(await failure(() => read([rows[1]!]), files.folder)).to.match(
      /"ner_tags" holds null where a list/,
    );
  });

  it('are refused where they are anything else', async () => {
    const refusal = (row: object, optional = true) => failure(() => read([row], optional), files.folder);
    expect(await refusal({ tokens: 'a b', ner_tags: [0] })).to.equal(
      'BAD_DATA x.jsonl:1: column "tokens" holds a string where a list of words is needed',
    );
    expect(await refusal({ tokens: ['a', 1], ner_tags: [0, 0] })).to.match(/a list of words is needed$/);
    expect(await refusal({ tokens: [], ner_tags: [] })).to.match(/column "tokens" holds no word$/);
    expect(await refusal({ tokens: ['a'], ner_tags: [0, 1] })).to.equal(
      'BAD_DATA x.jsonl:1: column "ner_tags" holds 2 tags for 1 words',
    );
    for (const tags of ['O', 0, [0.5], ['O', 1], [null], [''], {}])
      expect(await refusal({ tokens: ['a', 'b'], ner_tags: tags })).to.match(
        /^BAD_DATA x\.jsonl:1: column "ner_tags" holds .* where a list of tags, all names or all integers, is needed$/,
      );
    expect(await failure(() => read([]), files.folder)).to.match(/^EMPTY_DATA x\.jsonl/);
  });

  it('have names, O first, or integers', async () => {
    const infer = (...tags: Tagged['tags'][]) =>
      inferTags(
        tags.map((each) => ({ tags: each })),
        'x.jsonl',
      );
    expect(infer(['I-X', 'O'], null, ['B-X'])).to.deep.equal(['O', 'B-X', 'I-X']);
    expect(infer(['NN', 'DT'])).to.deep.equal(['DT', 'NN']);
    expect(infer([2, 0], [1])).to.deep.equal(['0', '1', '2']);
    expect(await failure(() => infer(null))).to.equal('BAD_LABEL x.jsonl: no row has a label');
    expect(await failure(() => infer(['1.5', '2']))).to.match(/^BAD_LABEL .* not whole/);
  });

  for (const [name, { words: sentences }] of Object.entries(truth.tokenizers)) {
    const examples = sentences.map(({ words }, idx) => ({
      idx,
      line: 1,
      words,
      tags: words.map((_, w) => w % 3),
    }));
    const encode = async (maxLength: number, some: Tagged[] = examples) =>
      encodeTags(some, ['O', 'B-X', 'I-X'], await tokenizerOf(name), { maxLength, file: 'x' });

    it(`are encoded as in Python: ${name}`, async () => {
      const encoded = await encode(100);
      for (const [i, { ids, first }] of sentences.entries()) {
        const found = encoded[i]!;
        expect([...found.ids]).to.deep.equal(ids);
        expect([...found.words]).to.deep.equal(first);
        const labels = new Map(first.map((token, w) => [token, w % 3]));
        expect([...found.tokenLabels]).to.deep.equal(ids.map((_, t) => labels.get(t) ?? -100));
        expect([found.truncated, found.label]).to.deep.equal([false, NaN]);
      }
    });

    it(`lose what is cut off: ${name}`, async () => {
      const [found] = await encode(9);
      const { first, ids } = sentences[0]!;
      expect(found!.truncated).to.be.true;
      expect([...found!.words]).to.deep.equal(first.map((token) => (token < 8 ? token : -1)));
      expect([...found!.ids]).to.deep.equal([...ids.slice(0, 8), ids.at(-1)]);
      expect([...found!.tokenLabels].filter((label) => label >= 0)).to.deep.equal(
        first.filter((token) => token < 8).map((_, w) => w % 3),
      );
    });

    it(`without tags have nothing to tell: ${name}`, async () => {
      const [found] = await encode(100, [{ idx: 0, line: 1, words: ['the', 'ships'], tags: null }]);
      expect(new Set(found!.tokenLabels)).to.deep.equal(new Set([-100]));
      expect(found!.words[0]).to.equal(1);
    });
  }

  it('without a token have no place, those after them theirs', async () => {
    const words = ['the', '\u200b', '', 'ships'];
    const [found] = await encodeTags(
      [{ idx: 0, line: 1, words, tags: [0, 1, 1, 1] }],
      ['O', 'X'],
      await tokenizerOf('word-piece'),
      { maxLength: 20, file: 'x' },
    );
    expect([...found!.words]).to.deep.equal([1, -1, -1, 2]);
    expect([...found!.tokenLabels.subarray(0, 3)]).to.deep.equal([-100, 0, 1]);
  });

  it('are refused with a tag of no name', async () => {
    const tokenizer = await tokenizerOf('word-piece');
    const refusal = (tag: string | number) =>
      failure(() =>
        encodeTags([{ idx: 0, line: 1, words: ['a', 'b'], tags: [0, tag] }], ['O', 'X'], tokenizer, {
          ...{ maxLength: 20, file: 'x.jsonl' },
        }),
      );
    expect(await refusal('Y')).to.equal('BAD_LABEL x.jsonl:1, word 2: label "Y" is none of O, X');
    expect(await refusal(2)).to.match(/label 2 is none of O, X$/);
  });
});
