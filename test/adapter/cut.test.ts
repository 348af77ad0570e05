import { expect } from 'chai';
import { cutAdapter, mergeAdapter } from '../../lib/adapter/cut.ts';
import type { Plan } from '../../lib/plan/plan.ts';
import { HEADS, LAYER, PLAN, Scratch, siteOf, whole } from './samples.ts';

describe('cutting an adapter', () => {
  const cut = (plan: Plan) =>
    new Map(cutAdapter(whole(), plan, HEADS, siteOf).map((tensor) => [tensor.name, tensor]));
  const found = cut(PLAN);
  const rowsOf = (name: string) => {
    const { shape, data } = found.get(name.startsWith('classifier') ? name : `${LAYER}.${name}`)!;
    return Array.from({ length: shape[0]! }, (_, i) => [
      ...data.subarray(i * shape[1]!, (i + 1) * shape[1]!),
    ]);
  };
  const all = (n: number) => Array.from({ length: n }, (_, i) => i);
  const grid = (rows: number[], columns: number[]) =>
    rows.map((row) => columns.map((column) => 100 * row + column));
  const heads = [0, 1, 4, 5];

  it('drops what the plan does not name, and the masks', () => {
    expect(found.size).to.equal(2 * 4 + 1);
    expect([...found.keys()].some((name) => /key|masks/.test(name))).to.be.false;
  });

  it("takes the kept heads' outputs of the query", () => {
    expect(rowsOf('attention.self.query.lora_A.weight')).to.deep.equal(grid([1, 2], all(6)));
    expect(rowsOf('attention.self.query.lora_B.weight')).to.deep.equal(grid(heads, [1, 2]));
  });

  it("takes the kept heads' inputs of the attention's output", () => {
    expect(rowsOf('attention.output.dense.lora_A.weight')).to.deep.equal(grid([0], heads));
    expect(rowsOf('attention.output.dense.lora_B.weight')).to.deep.equal(grid(all(6), [0]));
  });

  it('takes the kept neurons on both of their sides', () => {
    expect(rowsOf('intermediate.dense.lora_A.weight')).to.deep.equal(grid([2], all(6)));
    expect(rowsOf('intermediate.dense.lora_B.weight')).to.deep.equal(grid([1, 11], [2]));
    expect(rowsOf('output.dense.lora_A.weight')).to.deep.equal(grid(all(3), [1, 11]));
    expect(rowsOf('output.dense.lora_B.weight')).to.deep.equal(grid(all(6), all(3)));
  });

  it('leaves the head as it is', () => {
    expect(rowsOf('classifier.dense.weight')).to.deep.equal(grid(all(6), all(6)));
  });

  it('is undone by putting back what was cut out', () => {
    const tensors = whole();
    const doubled = [...found.values()].map((tensor) => ({
      ...tensor,
      data: tensor.data.map((x) => -x - 1),
    }));
    const merged = mergeAdapter(tensors, doubled, PLAN, HEADS, siteOf);
    const again = cutAdapter(new Map(merged.map((tensor) => [tensor.name, tensor])), PLAN, HEADS, siteOf);
    expect(again).to.deep.equal(doubled);
    const changed = merged.flatMap(({ name, data }) =>
      Array.from(data).filter((value, i) => value !== tensors.get(name)!.data[i]),
    );
    expect(changed.length).to.equal(doubled.reduce((sum, { data }) => sum + data.length, 0));
  });

  it('refuses a plan for another adapter', async () => {
    const scratch = new Scratch();
    const failure = (change: Partial<Plan>) => scratch.failure(() => cut({ ...PLAN, ...change }));
    const name = `${LAYER}.attention.self.query`;
    const other = `${LAYER}.attention.self.value`;
    expect(await failure({ modules: [{ name: other, ranks: [0] }] })).to.equal(
      `BAD_PLAN the plan keeps ${other}, which is not in the adapter`,
    );
    expect(await failure({ modules: [{ name, ranks: [0, 3] }] })).to.equal(
      `BAD_PLAN the plan keeps rank 3 of ${name}, which has 3`,
    );
    expect(await failure({ layers: [{ heads: [3], neurons: [0] }] })).to.equal(
      `BAD_PLAN the plan keeps more than the [6, 3] of ${name}.lora_B.weight`,
    );
    scratch.dispose();
  });
});
