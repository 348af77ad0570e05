import { expect } from 'chai';
import { spanMetrics } from '../../lib/span-metrics.ts';
import { failure } from './files.ts';
import { truth } from './token-tasks.ts';

describe('the measures of answers', () => {
  for (const { told, right, exact, f1 } of truth.measures)
    it(`agree with Python: ${JSON.stringify(told)} for ${JSON.stringify(right)}`, () => {
      const found = spanMetrics([told], [right]);
      expect(found.exact_match).to.equal(exact);
      expect(found.f1).to.be.closeTo(f1, 1e-15);
    });

  it('are means over the questions', async () => {
    const found = spanMetrics(['the mill', 'x', 'an old bridge'], [['mill'], ['y'], ['bridge']]);
    expect(found.exact_match).to.be.closeTo(1 / 3, 1e-15);
    expect(found.f1).to.be.closeTo((1 + 2 / 3) / 3, 1e-15);
    expect(spanMetrics([], [])).to.deep.equal({ exact_match: NaN, f1: NaN });
    expect(await failure(() => spanMetrics(['a'], []))).to.match(
      /^INTERNAL 1 answers do not fit 0 questions/,
    );
  });
});
