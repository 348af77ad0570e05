import { expect } from 'chai';
import { generateTask } from '../../demo/task.ts';

const SIZES = { train: 6000, validation: 1000 };

describe('demo/task', () => {
  for (const seed of [0, 1, 2, -7]) {
    describe(`with seed ${seed}`, () => {
      const { train, validation } = generateTask({ seed, ...SIZES });
      const all = [...train, ...validation];

      it('makes as many examples as it is asked for, numbered from 0', () => {
        expect(train.map(({ idx }) => idx)).to.deep.equal([...Array(SIZES.train).keys()]);
        expect(validation.map(({ idx }) => idx)).to.deep.equal([...Array(SIZES.validation).keys()]);
      });

      it('makes no sentence twice, so none under both labels or in both parts', () => {
        expect(new Set(all.map(({ sentence }) => sentence))).to.have.lengthOf(all.length);
      });

      it('gives half of each part each label', () => {
        for (const part of [train, validation]) {
          const positive = part.filter(({ label }) => label === 1).length / part.length;
          expect(positive).to.be.within(0.48, 0.52);
        }
      });

      it('writes sentences of 6 to 16 ordinary words', () => {
        for (const { sentence } of all) {
          expect(sentence).to.match(/^[A-Z][a-z]*(,? [A-Za-z]+)+\.$/);
          expect(sentence.split(' '), sentence).to.have.length.within(6, 16);
        }
      });
    });
  }

  it('gives the same sentences for the same seed and others for another', () => {
    const options = { train: 50, validation: 10 };
    expect(generateTask({ seed: 5, ...options })).to.deep.equal(generateTask({ seed: 5, ...options }));
    expect(generateTask({ seed: 5, ...options })).to.not.deep.equal(generateTask({ seed: 6, ...options }));
  });

  it('makes odd numbers of examples and none at all', () => {
    const { train, validation } = generateTask({ seed: 1, train: 7, validation: 0 });
    expect(train).to.have.lengthOf(7);
    expect(validation).to.be.empty;
  });

  it('draws both parts from the same mix of sentences', () => {
    const { train, validation } = generateTask({ seed: 1, ...SIZES });
    const share = (part: typeof train, word: string) =>
      part.filter(({ sentence }) => sentence.includes(` ${word} `)).length / part.length;
    for (const word of ['but', 'not', 'expected', 'were', 'found']) {
      expect(share(validation, word), word).to.be.closeTo(share(train, word), 0.05);
    }
  });
});
