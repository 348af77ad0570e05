import { expect } from 'chai';
import { tagMetrics } from '../../lib/tag-metrics.ts';
import { failure } from './files.ts';

const split = (sentences: string) => sentences.split(' | ').map((tags) => tags.split(' '));

// True and told tags; and, counted by hand, the entities that are both, told and meant.
const CASES: [string, string, string, [number, number, number]][] = [
  ['what is right', 'B-P I-P O B-L', 'B-P I-P O B-L', [2, 2, 2]],
  ['a boundary', 'O O O B-M I-M I-M O | B-P I-P O', 'O O B-M I-M I-M I-M O | B-P I-P O', [1, 2, 2]],
  ['a type', 'B-P I-P O', 'B-L I-L O', [0, 1, 1]],
  ['an I- after an O, which begins one', 'B-P I-P O B-L', 'I-P I-P O I-L', [2, 2, 2]],
  ['an I- of another type, which begins one', 'B-P B-L O', 'B-P I-L O', [2, 2, 2]],
  ['a B- after a B-', 'B-P B-P I-P', 'B-P I-P I-P', [0, 1, 2]],
  ['E- and S-', 'B-P I-P E-P S-L S-L', 'B-P I-P I-P B-L B-L', [3, 3, 3]],
  ['an I- after an E-, which begins one', 'B-P E-P I-P O', 'B-P E-P O O', [1, 1, 2]],
  ['the end of a sequence, over which nothing reaches', 'B-P | I-P O', 'B-P | O O', [1, 1, 2]],
  ['types with a dash', 'B-X-Y I-X-Y O', 'B-X-Z I-X-Y O', [0, 2, 1]],
  ['bare marks', 'B I O', 'B I O', [1, 1, 1]],
  // DT is of type T, NN and NP of N and P; two NN in a row are one.
  ['tags without prefixes', 'DT NN NN VB', 'DT NN NP VB', [2, 4, 3]],
  ['a full stop, which is none', 'NN .', 'NN .', [1, 1, 1]],
  ['nothing', 'O O', 'O O', [0, 0, 0]],
];

describe('the measures of tags', () => {
  for (const [name, meant, told, [both, predicted, real]] of CASES)
    it(`count as seqeval does: ${name}`, () => {
      const { precision, recall, f1, accuracy } = tagMetrics(split(told), split(meant));
      const [right, tags] = [split(meant).flat(), split(told).flat()];
      expect(precision).to.equal(both / Math.max(1, predicted));
      expect(recall).to.equal(both / Math.max(1, real));
      expect(f1).to.be.closeTo((2 * both) / Math.max(1, predicted + real), 1e-15);
      expect(accuracy).to.be.closeTo(tags.filter((tag, i) => tag === right[i]).length / tags.length, 1e-15);
    });

  it('are none of nothing, and refused where lengths differ', async () => {
    expect(tagMetrics([], [])).to.deep.equal({ precision: 0, recall: 0, f1: 0, accuracy: NaN });
    for (const told of [[], [['O', 'O']]])
      expect(await failure(() => tagMetrics(told, [['O']]))).to.match(
        /^INTERNAL the sequences of predicted tags/,
      );
  });
});
