import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect } from 'chai';

interface Comparison {
  op: string;
  what: string;
  dtype: string;
  error: number;
  bound: number;
}

/** What test/native prints: each op against float64, its gradients against autograd's. */
function comparisons(): Comparison[] {
  const root = join(import.meta.dirname, '../..');
  const { addon } = JSON.parse(readFileSync(join(root, 'build/current.json'), 'utf8')) as { addon: string };
  const program = join(root, dirname(addon), 'op_check');
  const { status, stdout, stderr } = spawnSync(program, { encoding: 'utf8', maxBuffer: 2 ** 26 });
  expect(status, stderr).equal(0);
  return stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Comparison);
}

describe('every op is its float64 reference', () => {
  const all = comparisons();
  for (const kind of [
    'activation',
    'norm',
    'dropout',
    'linear',
    'attention',
    'loss',
    'teacher',
    'adamw',
    'threads',
  ])
    for (const dtype of ['float32', 'bfloat16']) {
      const some = all.filter((one) => one.op.split(' ')[0] === kind && one.dtype === dtype);
      if (some.length > 0)
        it(`${kind} in ${dtype}: ${some.length} values and gradients`, () => {
          const wrong = some.filter(({ error, bound }) => !(error <= bound));
          expect(wrong).deep.equal([]);
        });
    }
  it('none is left out', () => expect(all.length).greaterThan(900));
});
