import { expect } from 'chai';
import type { Checkpoint } from '../../lib/checkpoint/folder.ts';
import { packBatch, type PackedBatch } from '../../lib/data/batches.ts';
import { Random } from '../../lib/data/random.ts';
import { Model, Session } from '../../lib/engine.ts';
import { type NamedTensor, native, type SessionConfig } from '../../lib/native.ts';
import { Case, distance } from './truth.ts';

const withDropout = (checkpoint: Checkpoint): Checkpoint => ({
  ...checkpoint,
  spec: { ...checkpoint.spec, hiddenDropout: 0.1, attentionOutputDropout: 0.1, embeddingDropout: 0.1 },
});

const TAGS = 3;

/** Whether a step on this addon's usual device is recorded. */
const records = native().machine().cuda > 0 || process.env['LIGHT_PEFT_ADDON'] !== undefined;

/** Texts of the same kind twice, and of others between, whose labels are all there but for one. */
function batchesFor(vocab: number): PackedBatch[] {
  const random = new Random(3);
  return [
    [5, 9, 3],
    [4, 8, 6],
    [20, 33, 2],
    [7, 7, 7],
    [21, 30, 4],
    [5, 9, 3],
  ].map((lengths) => {
    const batch = packBatch(
      lengths.map((length, idx) => ({
        ids: Int32Array.from({ length }, () => 3 + random.below(vocab - 3)),
        ...{ typeIds: new Int32Array(length), truncated: false, idx, label: idx === 1 ? NaN : idx % 2 },
      })),
    );
    const tokens = batch.ids.length;
    return {
      ...batch,
      tokenLabels: Int32Array.from({ length: tokens }, (_, t) => (t % 5 === 0 ? -100 : t % TAGS)),
      spans: Int32Array.from(lengths.flatMap((n, i) => (i === 1 ? [-1, -1] : [n > 4 ? 1 : 0, n - 1]))),
    };
  });
}

/** A GPU, or the CUDA kernels as the host runs them, is what records; on the CPU both runs launch every step. */
describe('recorded steps do what launched steps do', () => {
  for (const name of ['roberta-tiny', 'llama-odd', 'bloom-tiny'])
    for (const told of ['labels', 'tags', 'spans'] as const)
      it(`${name}, ${told}, with dropout, masks, scores and clipping`, async () => {
        const recorded = await Case.open(name);
        using model = await Model.load(withDropout(recorded.checkpoint), { dtype: 'float32', threads: 2 });
        const modules = recorded.modules(model).map((module) => ({ ...module, dropout: 0.05 }));
        const head = { ...recorded.sessionConfig(model).head, outputs: told === 'tags' ? TAGS : 2 };
        const changes: Partial<SessionConfig> = { modules, head, told, maxGradNorm: 0.5, regression: false };
        const run = async (graphs: boolean) => {
          const mayKeep = { prefixCacheBytes: 2 ** 20 }; // of frozen layers, and there is none
          const config = { ...changes, ...mayKeep, graphs, masks: true, l1Heads: 1e-3, headMaskRate: 1 };
          using session = new Session(model, recorded.sessionConfig(model, config), { threads: 2 });
          for (const [step, batch] of batchesFor(recorded.checkpoint.spec.vocab).entries())
            await session.step([batch], 1e-2 / (step + 1), { score: step % 2 === 1 });
          // Once more, all of the same kind.
          for (const batch of batchesFor(recorded.checkpoint.spec.vocab))
            await session.step([batch], 1e-3, { score: true });
          return {
            metrics: await session.metrics(),
            tensors: await session.tensors(),
            scores: await session.scores(),
          };
        };
        const [launched, again] = [await run(false), await run(true)];
        expect(again.metrics.steps).equal(12);
        expect([launched, again].map(({ metrics }) => metrics.recorded > 0)).deep.equal([false, records]);
        expect(again.metrics.tokens).equal(launched.metrics.tokens);
        expect(again.metrics.loss).closeTo(launched.metrics.loss, 1e-4 * launched.metrics.loss);
        expect(again.metrics.gradNorm).closeTo(launched.metrics.gradNorm, 1e-3 * launched.metrics.gradNorm);
        // What is added to all tokens' logits changes no span: its gradient is rounding alone, which Adam makes large.
        const tells = ({ name: of }: NamedTensor) => told !== 'spans' || of !== 'classifier.out_proj.bias';
        for (const [i, { name: of, data }] of again.tensors.filter(tells).entries())
          expect(distance(data, launched.tensors.filter(tells)[i]!.data), of).below(2e-3);
        for (const [measure, pieces] of Object.entries(again.scores.measures))
          for (const [i, piece] of pieces.entries())
            expect(
              distance(piece, launched.scores.measures[measure as 'ratios'][i]!),
              `${measure} ${i}`,
            ).below(5e-3);
      });

  it('resumed are never stopped, bit for bit, whatever attention drops', async () => {
    const recorded = await Case.open('roberta-tiny');
    const { checkpoint } = recorded;
    const drops = { ...checkpoint, spec: { ...checkpoint.spec, attentionDropout: 0.1, hiddenDropout: 0.1 } };
    using model = await Model.load(drops, { dtype: 'float32', threads: 2 });
    const begin = () =>
      new Session(model, recorded.sessionConfig(model, { graphs: true, masks: true }), { threads: 2 });
    const batches = [...batchesFor(checkpoint.spec.vocab), ...batchesFor(checkpoint.spec.vocab)];
    using whole = begin();
    using parts = begin();
    for (const [at, batch] of batches.entries()) {
      await whole.step([batch], 1e-3, { score: true });
      if (at < 7) await parts.step([batch], 1e-3, { score: true });
    }
    using again = begin();
    await again.setState(await parts.state());
    for (const batch of batches.slice(7)) await again.step([batch], 1e-3, { score: true });
    expect((await again.metrics()).recorded > 0).equal(records);
    expect(await again.state()).deep.equal(await whole.state());
    expect(await again.tensors()).deep.equal(await whole.tensors());
  });

  for (const graphs of [false, true])
    it(`stop at the first loss that is not finite, whatever was queued behind it (${graphs ? 'recorded' : 'launched'})`, async () => {
      const recorded = await Case.open('roberta-tiny');
      using model = await Model.load(recorded.checkpoint, { dtype: 'float32', threads: 2 });
      const config = recorded.sessionConfig(model, { graphs, masks: true });
      using session = new Session(model, config, { threads: 2 });
      const [batch] = batchesFor(recorded.checkpoint.spec.vocab) as [PackedBatch];
      const step = () => session.step([batch], 1e-3, { score: true });
      for (let i = 0; i < 3; i++) await step();
      const whole = async () => ({
        state: await session.state(),
        scores: await session.scores(),
        logits: (await session.evaluate(batch)).logits,
      });
      const name = 'classifier.out_proj.weight';
      const [good] = (await session.tensors()).filter((tensor) => tensor.name === name) as [NamedTensor];
      const before = await whole();
      await session.setTensors([{ name, data: good.data.map((value, i) => (i ? value : NaN)) }]);
      await step();
      await session.setTensors([good]);
      for (let i = 0; i < 2; i++) await step();
      expect(await whole()).deep.equal(before);
      expect(await session.metrics()).include({ steps: 3, notFinite: 3, tokens: 3 * batch.ids.length });
      await step();
      expect(await session.metrics()).include({ steps: 0, notFinite: 3, tokens: 0 });
      expect(await whole()).deep.equal(before);
    });

  it('with what is below the topmost modules at rest', async () => {
    const recorded = await Case.open('roberta-tiny');
    using model = await Model.load(withDropout(recorded.checkpoint), { dtype: 'float32', threads: 2 });
    const run = async (graphs: boolean) => {
      using session = new Session(model, recorded.sessionConfig(model, { graphs }), { threads: 2 });
      for (const rests of [false, false, true, true])
        for (const batch of batchesFor(recorded.checkpoint.spec.vocab))
          await session.step([batch], 1e-3, { rests });
      return { recorded: (await session.metrics()).recorded, tensors: await session.tensors() };
    };
    const [launched, again] = [await run(false), await run(true)];
    expect(again.recorded > 0).equal(records);
    for (const [i, { name, data }] of again.tensors.entries())
      expect(distance(data, launched.tensors[i]!.data), name).below(2e-3);
  });
});
