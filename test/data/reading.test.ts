import { expect } from 'chai';
import { readingOf, readsAgain } from '../../lib/data/reading.ts';
import type { Reads } from '../../lib/options.ts';

describe('how files are read again', () => {
  const cases: [what: string, before: Reads, now: Reads, read: Reads][] = [
    ['as before', { textColumns: ['a'], metric: 'f1' }, {}, { textColumns: ['a'], metric: 'f1' }],
    ['but for a column', { task: 'mrpc' }, { labelColumn: 'l' }, { task: 'mrpc', labelColumn: 'l' }],
    ['by another task alone', { textColumns: ['a'], metric: 'f1' }, { task: 'cb' }, { task: 'cb' }],
    ['for another kind of label', { task: 'cola' }, { tagColumn: 't' }, { tagColumn: 't' }],
    [
      'for the same kind from another column',
      { textColumns: ['a'], completionColumn: 'b' },
      { completionColumn: 'c' },
      { textColumns: ['a'], completionColumn: 'c' },
    ],
    ['with tags of the label column', { tagColumn: 't' }, { labelColumn: 'u' }, { tagColumn: 'u' }],
    ['with answers of it', { answerColumn: 't' }, { labelColumn: 'u' }, { answerColumn: 'u' }],
    [
      'with tags of their own column',
      { task: 'conll2003', labelColumn: 't' },
      { tagColumn: 'u' },
      { task: 'conll2003', tagColumn: 'u' },
    ],
  ];
  for (const [what, before, now, read] of cases)
    it(what, () => {
      // As those who read do: what is said now lies below.
      const found = { ...now, ...readsAgain(before, now) };
      const said = Object.entries(found).filter(([, value]) => value !== undefined);
      expect(Object.fromEntries(said)).to.deep.equal(read);
      readingOf(found);
    });

  it('not where two options of now name the same', () => {
    const now = { tagColumn: 'a', labelColumn: 'b' };
    expect(() => readingOf(readsAgain({}, now))).to.throw(
      '--tag-column and --label-column exclude each other',
    );
  });

  it('and is told by the task where that says it', () => {
    expect(() => readingOf({ task: 'squad', labelNames: ['a', 'b'] })).to.throw(
      /^--task squad and --label-names/,
    );
    expect(() => readingOf({ task: 'copa', labelNames: ['a', 'b'] })).to.throw(
      /^--task copa and --label-names/,
    );
    expect(() => readingOf({ task: 'arc_easy', labelColumn: 'a' })).to.throw(
      /^--task arc_easy and --label-col/,
    );
  });
});
