import { expect } from 'chai';
import { bagOfWordsAccuracy } from '../../demo/bag-of-words.ts';
import { generateTask, type DemoExample } from '../../demo/task.ts';

const labelled = (...rows: [string, 0 | 1][]): DemoExample[] =>
  rows.map(([sentence, label], idx) => ({ sentence, label, idx }));

describe('demo/bag-of-words', () => {
  it('learns what single words tell', () => {
    const train = labelled(['The plot was dull.', 0], ['The cast was dull.', 0], ['The plot was funny.', 1]);
    expect(bagOfWordsAccuracy(train, labelled(['A dull cast.', 0], ['A funny cast!', 1]))).to.equal(1);
  });

  it('cannot learn what only the order tells', () => {
    const rows = labelled(['I loved what they hated.', 1], ['They loved what I hated.', 0]);
    expect(bagOfWordsAccuracy(rows, rows)).to.equal(0.5);
  });

  for (const seed of [0, 1, 2]) {
    it(`finds some, and not enough, in the words of the task with seed ${seed}`, () => {
      const { train, validation } = generateTask({ seed, train: 6000, validation: 1000 });
      const accuracy = bagOfWordsAccuracy(train, validation);
      expect(accuracy).to.be.within(0.5, 0.75);
      expect(bagOfWordsAccuracy(train, validation)).to.equal(accuracy);
    });
  }
});
