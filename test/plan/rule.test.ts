import { readFileSync } from 'node:fs';
import { expect } from 'chai';
import { keepAboveQuantile, quantile, type Scope } from '../../lib/plan/select.ts';

interface Selection {
  ratio: number;
  layerwise: boolean;
  threshold: number | number[];
  kept?: number[][];
  counts?: number[];
  sums?: number[];
}

interface Case {
  name: string;
  scores?: number[][];
  formula?: { multiplier: number; shape: [number, number]; levels: number | null };
  selections: Selection[];
}

const { cases } = JSON.parse(
  readFileSync(new URL('../fixtures/plan-rule/truth.json', import.meta.url), 'utf8'),
) as { cases: Case[] };

const byFormula = ({ multiplier, shape: [layers, n], levels }: NonNullable<Case['formula']>): number[][] =>
  Array.from({ length: layers }, (_, layer) =>
    Array.from({ length: n }, (_, i) => {
      const score = (Math.imul(layer * n + i, multiplier) >>> 0) / 2 ** 32;
      return levels === null ? score : Math.floor(score * levels) / levels;
    }),
  );

const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);

describe("the seeds' rule, against numpy", () => {
  for (const { name, scores: given, formula, selections } of cases) {
    const scores = given ?? byFormula(formula!);
    for (const { ratio, layerwise, threshold, kept, counts, sums } of selections) {
      const scope: Scope = layerwise ? 'layer' : 'global';
      it(`${name}, ratio ${ratio}, ${scope}`, () => {
        const thresholds = layerwise
          ? scores.map((layer) => quantile(layer, ratio))
          : quantile(scores.flat(), ratio);
        expect(thresholds).to.deep.equal(threshold);
        const actual = keepAboveQuantile(scores, ratio, { scope, atLeast: 0 });
        if (kept) expect(actual).to.deep.equal(kept);
        else {
          expect(actual.map(({ length }) => length)).to.deep.equal(counts);
          expect(actual.map(sum)).to.deep.equal(sums);
        }
      });
    }
  }
});
