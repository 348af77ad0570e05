import { expect } from 'chai';
import {
  encodeLabel,
  inferLabels,
  isReordered,
  isUnlabelled,
  type WholeLabels,
} from '../../lib/data/labels.ts';
import { failure } from './files.ts';

type Label = string | number | null;
const infer = (labels: Label[]) =>
  inferLabels(
    labels.map((label) => ({ label })),
    'x.csv',
  );
const classes = (...names: string[]): WholeLabels => ({ kind: 'classes', names });
const regression: WholeLabels = { kind: 'regression' };

describe('label sets', () => {
  it('are classes 0..n-1 for integers, also where a table spells them', () => {
    expect(infer([1, 0, 2, 1])).to.deep.equal(classes('0', '1', '2'));
    expect(infer(['1', '0'])).to.deep.equal(classes('0', '1'));
    expect(infer(['1.0', '0.0'])).to.deep.equal(classes('0', '1'));
    expect(infer([0, 0])).to.deep.equal(classes('0', '1'));
    expect(infer([1, 1])).to.deep.equal(classes('0', '1'));
  });

  it('are words in an order that no locale changes', () => {
    expect(infer(['b', 'a', 'Z', 'ä', 'a'])).to.deep.equal(classes('Z', 'a', 'b', 'ä'));
  });

  it('are a regression where a number is not whole', () => {
    expect(infer([1, 0, 2.5])).to.deep.equal(regression);
    expect(infer(['3.8', '5', '-1', '1e-3'])).to.deep.equal(regression);
    expect(infer([-1, -0.5])).to.deep.equal(regression);
  });

  it('leave out what is unlabelled', () => {
    expect(infer([null, -1, 0, 1])).to.deep.equal(classes('0', '1'));
    expect(infer([null, 'x', 'y'])).to.deep.equal(classes('x', 'y'));
  });

  it('are refused where they are not clear', async () => {
    const refusal = (labels: Label[]) => failure(() => infer(labels));
    expect(await refusal([1, 2, 5])).to.equal(
      'BAD_LABEL x.csv: integer labels must run from 0 without a gap; there are 1, 2, 5; give the label names, or --metric pearson where they are values',
    );
    expect(await refusal([0, 2])).to.match(/there are 0, 2;/);
    expect(await refusal([1, 2])).to.match(/there are 1, 2;/);
    expect(await refusal([0, -2])).to.match(/there are -2, 0;/);
    expect(await refusal([0, 1e9])).to.match(/there are 0, 1000000000;/);
    expect(await refusal([2.5, 'n/a'])).to.equal(
      'BAD_LABEL x.csv: some labels are numbers (2.5), some are not ("n/a"); give the label names',
    );
    expect(await refusal(['x', 'x'])).to.equal(
      'BAD_LABEL x.csv: every label is "x"; two classes or more are needed',
    );
    for (const none of [[], [null], [-1, null], ['-1']])
      expect(await refusal(none)).to.equal('BAD_LABEL x.csv: no row has a label');
    expect(await refusal(Array.from({ length: 30 }, (_, i) => i + 1))).to.match(
      /, 20, … \(30 in all\); give/,
    );
  });
});

describe('names in another order', () => {
  it('are those of which one is at another place, but for mere numbers that others begin at another', () => {
    const cases: [string[], string[], boolean][] = [
      [['a', 'b'], ['a', 'b'], false],
      [['a', 'b', 'c'], ['b', 'a', 'd'], true],
      [['a', 'b'], ['a', 'b', 'c'], false],
      [['a', 'b'], ['0', '1'], false],
      [['1', '2', '3'], ['0', '1', '2'], false],
      [['1', '0'], ['0', '1'], true],
    ];
    for (const [a, b, reordered] of cases)
      expect(isReordered(a, b), `${a.join()} ${b.join()}`).to.equal(reordered);
  });
});

describe('a label', () => {
  const encode = (label: Label, set: WholeLabels) => encodeLabel(label, set, 'x.csv, row 3');
  const refusal = (label: Label, set: WholeLabels) => failure(() => encode(label, set));

  it('is a name, or the index of one', () => {
    const set = classes('no', 'yes');
    expect(['no', 'yes', 0, 1, '0', '1', '1.0'].map((label) => encode(label, set))).to.deep.equal([
      0, 1, 0, 1, 0, 1, 1,
    ]);
  });

  it('is never an index where names are numbers', async () => {
    const stars = classes('1', '2', '3');
    expect([1, '2', '3.0'].map((label) => encode(label, stars))).to.deep.equal([0, 1, 2]);
    expect(await refusal(0, stars)).to.equal('BAD_LABEL x.csv, row 3: label 0 is none of 1, 2, 3');
    expect(encode(-1, classes('-1', '1'))).to.equal(0);
  });

  it('is refused outside the set', async () => {
    const set = classes('no', 'yes');
    expect(await refusal(2, set)).to.equal('BAD_LABEL x.csv, row 3: label 2 is none of no, yes');
    expect(await refusal('Yes', set)).to.equal('BAD_LABEL x.csv, row 3: label "Yes" is none of no, yes');
    for (const label of [0.5, -2, Infinity, '', 'toString'])
      expect(await refusal(label, set)).to.match(/is none of/);
    const many = classes(...Array.from({ length: 50 }, (_, i) => String(i)));
    expect(await refusal(50, many)).to.match(/is none of 0, 1, .*, 19, … \(50 in all\)$/);
  });

  it('is a finite number in a regression', async () => {
    expect([1, '2.5', '-3', '.5', '1e2'].map((label) => encode(label, regression))).to.deep.equal([
      1, 2.5, -3, 0.5, 100,
    ]);
    for (const label of ['x', '1,5', '0x10', 'NaN', Infinity, '1e999', ' '])
      expect(await refusal(label, regression)).to.match(/^BAD_LABEL x.csv, row 3: label .* is not a number$/);
    for (const label of [1e39, '-4e38'])
      expect(await refusal(label, regression)).to.match(
        /^BAD_LABEL .* is past what a 32-bit number can hold$/,
      );
  });

  it('may be missing where that is allowed', async () => {
    const set = classes('no', 'yes');
    for (const label of [null, -1, '-1']) {
      expect(isUnlabelled(label, set)).to.be.true;
      expect(encodeLabel(label, set, '', { unlabelled: 'allow' })).to.be.NaN;
      expect(await refusal(label, set)).to.match(/^BAD_LABEL x.csv, row 3: the row is not labelled/);
    }
    expect(encodeLabel(null, regression, '', { unlabelled: 'allow' })).to.be.NaN;
    expect(await refusal(null, regression)).to.match(/not labelled/);
    // A regression may have it for a target.
    expect(encode(-1, regression)).to.equal(-1);
  });
});
