import { expect } from 'chai';
import type { PackedBatch } from '../../lib/data/batches.ts';
import type { Session } from '../../lib/engine.ts';
import { fit } from '../../lib/fit.ts';
import { estimate, type Options, train } from '../../lib/index.ts';
import { settle } from '../../lib/options.ts';
import type { Plan } from '../../lib/plan/plan.ts';
import { Folder } from './bench.ts';

describe('a run that is long beside its estimation', () => {
  const folder = new Folder();
  const options = (changes: Partial<Options> = {}) => folder.options(changes);
  const from = folder.file('estimate');
  before(() => estimate(options({ out: from, maxSteps: 12 })));
  after(() => folder.remove());

  it("counts the estimation's steps among its own, and keeps modules whole", async () => {
    const notes: string[] = [];
    const steps = async (changes: Partial<Options>) => {
      const changed = options({ out: folder.file('counted'), from, ...changes });
      return (await train(changed, { onNote: (line) => notes.push(line) })).steps;
    };
    // It took twelve steps.
    expect(await steps({ estimationShare: 0.5, epochs: 4 })).equal(12);
    expect(notes).contain(
      'a long run: the estimation took 12 steps, and this has 24, for the first of which those stand',
    );
    const ranks = () => {
      const { modules } = JSON.parse(String(folder.bytes('counted', 'plan.json'))) as Plan;
      return new Set(modules.map((module) => module.ranks.length));
    };
    expect([...ranks()]).deep.equal([8]);
    expect(await steps({ estimationShare: 0.49, epochs: 4 })).equal(24);
    expect(ranks().size).above(1);
    expect(await steps({ estimationShare: 0.9, epochs: 4, rewind: true })).equal(24);
    expect(await steps({ estimationShare: 0.9, maxSteps: 14 })).equal(14);
    // Of other batches nothing counts.
    expect(await steps({ estimationShare: 0.9, epochs: 4, batchSize: 4 })).equal(48);
    expect(await steps({ estimationShare: 0.9, epochs: 4, seed: 5 })).equal(24);
  });

  it('has an estimation that may stop early keep to its share', async () => {
    const notes: string[] = [];
    const changes = { earlyStop: true, stopWindow: 50, stopDistance: 0, epochs: 1000, maxSteps: 300 };
    const steps = async (more: Partial<Options> = {}) => {
      const changed = options({ out: folder.file('share'), ...changes, ...more });
      return (await estimate(changed, { onNote: (line) => notes.push(line) })).steps;
    };
    // Its share of 6,000 steps are 270: the look at step 250 is the last.
    expect(await steps()).equal(251);
    expect(notes.at(-1)).match(/^not settled when the share of a long run was taken/);
    expect(await steps({ minSteps: 251 })).equal(300);
    expect(await steps({ estimationShare: 0.04 })).equal(300);
    expect(notes.at(-1)).match(/^not settled by the last step \(--max-steps\): heads, /);
  });

  it('takes the batches that follow', async () => {
    const settings = settle(options());
    const examples = Array.from({ length: 20 }, (_, idx) => ({
      ...{ ids: Int32Array.of(0), typeIds: Int32Array.of(0), truncated: false, idx, label: 0 },
    }));
    const seen = async (steps: number, behind: number) => {
      const taken: number[][] = [];
      const session = {
        step: (batches: PackedBatch[]) => void taken.push(batches.flatMap(({ idx }) => [...idx])),
        metrics: () => ({ steps: 0, tokens: 0, loss: 0, notFinite: -1 }),
      };
      await fit(session as unknown as Session, examples, { settings, steps, behind });
      return taken;
    };
    const all = await seen(8, 0);
    for (const behind of [1, 3, 5]) expect(await seen(8 - behind, behind)).deep.equal(all.slice(behind));
  });
});
