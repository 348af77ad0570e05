import { tmpdir } from 'node:os';
import { expect } from 'chai';
import type { Checkpoint } from '../../lib/checkpoint/folder.ts';
import { Model, Session } from '../../lib/engine.ts';
import { packBatch } from '../../lib/data/batches.ts';
import { cutAdapter } from '../../lib/adapter/cut.ts';
import type { Plan } from '../../lib/plan/plan.ts';
import type { ComputeDtype, LayerCut, NamedTensor, SessionConfig, SessionState } from '../../lib/native.ts';
import { Case, distance, loadCase, rms } from './truth.ts';

const range = (n: number) => Array.from({ length: n }, (_, i) => i);

/** Of a row-major [rows, columns] tensor. */
const takeRows = (data: Float32Array, columns: number, rows: number[]): Float32Array =>
  Float32Array.from(rows.flatMap((r) => [...data.subarray(r * columns, (r + 1) * columns)]));

const takeColumns = (data: Float32Array, width: number, columns: number[]): Float32Array =>
  Float32Array.from(range(data.length / width).flatMap((r) => columns.map((c) => data[r * width + c]!)));

/** Cuts tensors (or their gradients) as a trained session's must be when these heads and neurons stay. */
function slicer({ checkpoint, ...recorded }: Case, model: Model, cut: LayerCut[]) {
  const { headSize, hidden, ffn } = checkpoint.spec;
  const { r } = recorded.config;
  const sliced = new Map<string, (data: Float32Array) => Float32Array>();
  for (const [layer, { heads, neurons }] of cut.entries()) {
    const channels = heads.flatMap((h) => range(headSize).map((i) => h * headSize + i));
    const rowsOf = (site: string, rows: number[]) =>
      sliced.set(`${model.moduleName(layer, site)}.lora_B.weight`, (data) => takeRows(data, r, rows));
    const columnsOf = (site: string, width: number, columns: number[]) =>
      sliced.set(`${model.moduleName(layer, site)}.lora_A.weight`, (data) =>
        takeColumns(data, width, columns),
      );
    for (const site of ['query', 'key', 'value']) rowsOf(site, channels);
    columnsOf('attention.output', hidden, channels);
    rowsOf('intermediate', neurons);
    columnsOf('output', ffn, neurons);
  }
  return ({ name, data }: NamedTensor) => ({ name, data: sliced.get(name)?.(data) ?? data });
}

const masksOf = ({ checkpoint: { spec } }: Case, cut: LayerCut[]) =>
  cut.flatMap(({ heads, neurons }, layer) => [
    { name: `masks.${layer}.heads`, data: ones(spec.heads, heads) },
    { name: `masks.${layer}.neurons`, data: ones(spec.ffn, neurons) },
  ]);

const ones = (n: number, at: number[]) => Float32Array.from({ length: n }, (_, i) => Number(at.includes(i)));

const isMask = ({ name }: { name: string }) => name.startsWith('masks.');

/** A different set in every layer, and neither contiguous. */
const someCut = ({ checkpoint: { spec } }: Case): LayerCut[] =>
  range(spec.layers).map((layer) => ({
    heads: range(spec.heads).filter((h) => (h + layer) % 3 !== 1),
    neurons: range(spec.ffn).filter((n) => (n * 7 + layer) % 5 > 1),
  }));

const expectEqual = (a: NamedTensor[], b: NamedTensor[]) => {
  expect(a.map(({ name }) => name)).deep.equal(b.map(({ name }) => name));
  for (const [i, { name, data }] of a.entries()) expect(bits(data), name).deep.equal(bits(b[i]!.data));
};

const bits = ({ buffer, byteOffset, byteLength }: ArrayBufferView) =>
  Buffer.from(buffer, byteOffset, byteLength);

const expectNear = (a: NamedTensor[], b: NamedTensor[], tolerance: number) => {
  expect(a).lengthOf(b.length);
  for (const [i, { name, data }] of a.entries()) expect(distance(data, b[i]!.data), name).below(tolerance);
};

for (const name of ['roberta-tiny', 'roberta-odd'])
  describe(`${name}: what must hold whatever the weights are`, () => {
    let recorded: Case;
    let model: Model;

    before(async () => {
      ({ recorded, model } = await loadCase(name));
    });

    after(() => model.dispose());

    it('masks at one are no masks', async () => {
      using plain = await recorded.session(model);
      using masked = await recorded.session(model, { masks: true });
      const { logits } = await plain.evaluate(recorded.batch());
      expect(distance((await masked.evaluate(recorded.batch())).logits, logits)).below(1e-6);
    });

    describe('masks at zero are the smaller model', () => {
      const both = async (of: Model, cut: LayerCut[]) => {
        const masked = await recorded.session(of, { masks: true });
        await masked.setTensors(masksOf(recorded, cut));
        const smaller = await of.cut(cut, { threads: 2 });
        const session = new Session(smaller, recorded.sessionConfig(of), { threads: 2 });
        const slice = slicer(recorded, of, cut);
        const tensors = (await masked.tensors()).filter((tensor) => !isMask(tensor)).map(slice);
        await session.setTensors(tensors);
        const dispose = () => [masked, session, smaller].forEach((one) => one.dispose());
        return { masked, session, slice, [Symbol.dispose]: dispose };
      };

      /** Logits, and gradients of what both have. */
      const expectSame = async ({ masked, session, slice }: Awaited<ReturnType<typeof both>>) => {
        const { logits } = await masked.evaluate(recorded.batch());
        expect(distance((await session.evaluate(recorded.batch())).logits, logits)).below(1e-5);
        await masked.step([recorded.batch()], 0);
        await session.step([recorded.batch()], 0);
        const gradients = (await masked.tensors('gradient')).filter((one) => !isMask(one));
        const sliced = gradients.map((one) => ({ ...one, ...slice(one) }));
        expectNear(await session.tensors('gradient'), sliced, 1e-4);
      };

      it('in float32, gradients too', async () => {
        using pair = await both(model, someCut(recorded));
        const { logits } = await pair.masked.evaluate(recorded.batch());
        using plain = await recorded.session(model);
        expect(distance((await plain.evaluate(recorded.batch())).logits, logits)).above(1e-3); // they do cut
        await expectSame(pair);
      });

      it('in bfloat16, closer to each other than either to float32', async () => {
        const cut = someCut(recorded);
        using half = await Model.load(recorded.checkpoint, { dtype: 'bfloat16', threads: 2 });
        using exact = await both(model, cut);
        using pair = await both(half, cut);
        const { logits } = await exact.masked.evaluate(recorded.batch());
        const masked = (await pair.masked.evaluate(recorded.batch())).logits;
        const smaller = (await pair.session.evaluate(recorded.batch())).logits;
        expect(rms(smaller, masked)).below(rms(masked, logits));
        expect(rms(smaller, masked)).below(rms(smaller, logits));
      });

      it('with the masks that are left folded into the weights', async () => {
        const { heads, ffn } = recorded.checkpoint.spec;
        const scale = (n: number, layer: number) =>
          Float32Array.from({ length: n }, (_, i) => 0.5 + ((i * 5 + layer) % 7) / 4);
        const cut = someCut(recorded).map((kept, l): LayerCut => ({
          ...kept,
          headScale: scale(heads, l).filter((_, i) => kept.heads.includes(i)),
          neuronScale: scale(ffn, l).filter((_, i) => kept.neurons.includes(i)),
        }));
        using pair = await both(model, cut);
        const masks = (await pair.masked.tensors()).filter(isMask).map(({ name: mask, data }) => {
          const values = scale(data.length, Number(mask.split('.')[1]));
          return { name: mask, data: data.map((one, i) => one * values[i]!) };
        });
        await pair.masked.setTensors(masks);
        const plan: Pick<Plan, 'layers'> = { layers: cut };
        const delta = new Map(
          cut.flatMap(({ headScale, neuronScale }, l) => [
            [`layers.${l}.head_scale`, { shape: [], data: headScale! }] as const,
            [`layers.${l}.neuron_scale`, { shape: [], data: neuronScale! }] as const,
          ]),
        );
        const modules = recorded.modules(model);
        const adapter = new Map((await pair.masked.tensors()).map((tensor) => [tensor.name, tensor]));
        const whole = modules.map(({ name: module, rank }) => ({ name: module, ranks: range(rank) }));
        const siteOf = (module: string) => modules.find((one) => one.name === module)!;
        const folded = cutAdapter(
          adapter,
          { ...plan, modules: whole } as Plan,
          recorded.checkpoint.spec,
          siteOf,
          delta,
        );
        await pair.session.setTensors(folded);
        const { logits } = await pair.masked.evaluate(recorded.batch());
        expect(distance((await pair.session.evaluate(recorded.batch())).logits, logits)).below(1e-5);
      });

      it('where a layer keeps one head and one neuron', async () => {
        const cut = someCut(recorded);
        cut[0] = { heads: [2], neurons: [5] };
        using pair = await both(model, cut);
        const { logits } = await pair.masked.evaluate(recorded.batch());
        expect(distance((await pair.session.evaluate(recorded.batch())).logits, logits)).below(1e-5);
      });

      it('where layers lose their attention, their FFN, or both, gradients too', async () => {
        const all = someCut(recorded);
        for (const [first, last] of [
          [{ heads: [] }, { neurons: [] }],
          [{ neurons: [] }, { heads: [] }],
          [{ heads: [], neurons: [] }, {}],
          [{}, { heads: [], neurons: [] }],
        ] as Partial<LayerCut>[][]) {
          const cut = all.map((kept, l) => ({
            ...kept,
            ...(l === 0 ? first : l + 1 === all.length ? last : {}),
          }));
          using pair = await both(model, cut);
          await expectSame(pair);
        }
      });

      it('and nothing removed is the same model', async () => {
        const { layers, heads, ffn } = recorded.checkpoint.spec;
        using pair = await both(
          model,
          range(layers).map(() => ({ heads: range(heads), neurons: range(ffn) })),
        );
        const { logits } = await pair.masked.evaluate(recorded.batch());
        expect(distance((await pair.session.evaluate(recorded.batch())).logits, logits)).below(1e-6);
      });
    });

    it('an optimizer that is given its moments goes on as if it had never been away', async () => {
      using straight = await recorded.session(model);
      for (let step = 0; step < 3; step++) await straight.step([recorded.batch()], 0.01);
      using other = await recorded.session(model, { optimizerSteps: 3 });
      await other.setTensors(await straight.tensors());
      for (const part of ['moment1', 'moment2'] as const)
        await other.setTensors(await straight.tensors(part), part);
      for (const session of [straight, other]) await session.step([recorded.batch()], 0.01);
      expectEqual(await other.tensors(), await straight.tensors());
    });

    it('what is below the topmost modules may rest, and they and the head learn as ever', async () => {
      using straight = await recorded.session(model, { maxGradNorm: 0 });
      using resting = await recorded.session(model, { maxGradNorm: 0 });
      for (const session of [straight, resting]) await session.step([recorded.batch()], 0.01);
      const before = await resting.tensors();
      await straight.step([recorded.batch()], 0.01);
      await resting.step([recorded.batch()], 0.01, { rests: true });
      const top = Math.max(...resting.modules.map(({ layer }) => layer));
      const rests = ({ name }: { name: string }) =>
        resting.modules.some((module) => module.layer < top && name.startsWith(`${module.name}.`));
      const [learned, as] = [await resting.tensors(), await straight.tensors()];
      expectEqual(learned.filter(rests), before.filter(rests));
      const learns = (tensor: NamedTensor) => !rests(tensor);
      expectEqual(learned.filter(learns), as.filter(learns));
      await resting.step([recorded.batch()], 0.01);
      for (const [i, { name, data }] of (await resting.tensors()).entries())
        expect(distance(data, learned[i]!.data), name).above(0);
    });

    for (const dtype of ['float32', 'bfloat16'] as ComputeDtype[])
      it(`packed is one at a time, in ${dtype}`, async () => {
        const { inputs, labels } = recorded.truth;
        using of = await Model.load(recorded.checkpoint, { dtype, threads: 2 });
        using session = await recorded.session(of);
        const packed = await session.evaluate(recorded.batch());
        const alone: number[] = [];
        let loss = 0;
        for (const [i, ids] of inputs.entries()) {
          const one = await session.evaluate(recorded.batch([ids], [labels[i]!]));
          alone.push(...one.logits);
          loss += one.loss;
        }
        expect(distance(packed.logits, alone)).below(dtype === 'float32' ? 1e-5 : 2e-2);
        if (dtype === 'float32') expect(Math.abs(packed.loss / loss - 1)).below(1e-5);
      });

    it('micro-batches are one batch', async () => {
      const { inputs, labels } = recorded.truth;
      const parts = [
        recorded.batch(inputs.slice(0, 1), labels),
        recorded.batch(inputs.slice(1), labels.slice(1)),
      ];
      using whole = await recorded.session(model, { masks: true });
      using split = await recorded.session(model, { masks: true });
      await whole.step([recorded.batch()], 0);
      await split.step(parts, 0);
      expectNear(await split.tensors('gradient'), await whole.tensors('gradient'), 1e-5);
      const [a, b] = [await split.metrics(), await whole.metrics()];
      expect(Math.abs(a.loss / b.loss - 1)).below(1e-5);
      expect(Math.abs(a.gradNorm / b.gradNorm - 1)).below(1e-5);
      expect([a.steps, a.tokens, a.notFinite]).deep.equal([b.steps, b.tokens, -1]);
    });

    it('one thread is two', async () => {
      const { inputs, labels } = recorded.truth;
      const many = range(16).flatMap(() => inputs);
      const batch = recorded.batch(
        many,
        many.map((_, i) => labels[i % labels.length]!),
      );
      const run = async (threads: number) => {
        using of = await Model.load(recorded.checkpoint, { dtype: 'float32', threads });
        using session = new Session(of, recorded.sessionConfig(of, { masks: true }), { threads });
        using given = await recorded.session(of);
        await session.setTensors(await given.tensors());
        const { logits } = await session.evaluate(batch);
        await session.step([batch], 0);
        return { logits, gradients: await session.tensors('gradient') };
      };
      const [one, two] = [await run(1), await run(2)];
      expect(distance(one.logits, two.logits)).below(1e-5);
      expectNear(one.gradients, two.gradients, 1e-4);
    });

    describe('resumed is never stopped, bit for bit', () => {
      for (const dtype of ['float32', 'bfloat16'] as ComputeDtype[])
        it(`in ${dtype}, with dropout, masks and scores`, async () => {
          using of = await Model.load(withDropout(recorded.checkpoint), { dtype, threads: 2 });
          const open = async (seed: number) => {
            const changes = { masks: true, l1Heads: 1e-3, l1Neurons: 1e-4, seed };
            const modules = recorded.modules(of).map((module) => ({ ...module, dropout: 0.05 }));
            return recorded.session(of, { ...changes, modules });
          };
          const { inputs, labels } = recorded.truth;
          const train = async (session: Session, from: number, to: number) => {
            for (let step = from; step < to; step++) {
              const at = step % 3;
              const halves = [
                recorded.batch(inputs.slice(0, at + 1), labels),
                recorded.batch(inputs.slice(at + 1), labels.slice(at + 1)),
              ];
              await session.step(halves, 1e-2 / (step + 1), { score: step % 2 === 1 });
            }
          };
          using straight = await open(1);
          await train(straight, 0, 6);

          const stopped = await open(1);
          await train(stopped, 0, 3);
          const state: SessionState = await stopped.state();
          expect(state.stepsDone).equal(3);
          await train(stopped, 3, 4); // the state given out is not the session's own
          stopped.dispose();

          using resumed = await open(1);
          await resumed.setState(state);
          await train(resumed, 3, 6);
          expectEqual(await resumed.tensors(), await straight.tensors());
          expect(await resumed.state()).deep.equal(await straight.state());
          expect(await resumed.scores()).deep.equal(await straight.scores());

          // Dropout was on: another seed ends elsewhere.
          using other = await open(2);
          await train(other, 0, 6);
          expect(await other.state()).not.deep.equal(await straight.state());
        });
    });

    describe('layers below the lowest module, computed once, are those computed every time, bit for bit', () => {
      for (const dtype of ['float32', 'bfloat16'] as ComputeDtype[])
        for (const [where, prefixCacheBytes, prefixCacheFolder] of [
          ['in memory', 2 ** 26, ''],
          ['in a file', 1, tmpdir()],
          ['with no room', 1, ''],
        ] as const)
          it(`in ${dtype}, ${where}`, async () => {
            using of = await Model.load(recorded.checkpoint, { dtype, threads: 2 });
            const modules = recorded.modules(of).filter(({ layer }) => layer > 0);
            const { inputs, labels } = recorded.truth;
            const items = inputs.map((ids, idx) => ({
              ...{ ids: Int32Array.from(ids), typeIds: new Int32Array(ids.length), truncated: false },
              ...{ idx, label: labels[idx] ?? NaN },
            }));
            const run = async (changes: Partial<SessionConfig>) => {
              using session = new Session(of, recorded.sessionConfig(of, { modules, ...changes }), {
                threads: 2,
              });
              const order = [[0, 1, 2], [2, 0], [...items.keys()], [...items.keys()].reverse()];
              const losses: number[] = [];
              for (const chosen of order) {
                await session.step([packBatch(chosen.map((i) => items[i]!))], 1e-2);
                losses.push((await session.metrics()).loss);
              }
              return {
                losses,
                tensors: await session.tensors(),
                logits: (await session.evaluate(packBatch(items))).logits,
              };
            };
            const cached = await run({ prefixCacheBytes, prefixCacheFolder });
            const computed = await run({});
            // A GPU's products of other numbers of rows are made in other pieces.
            const apart = of.device === 'cpu' ? 0 : dtype === 'float32' ? 1e-4 : 2e-2;
            for (const [i, loss] of cached.losses.entries()) expect(loss).closeTo(computed.losses[i]!, apart);
            if (of.device !== 'cpu') return;
            expectEqual(cached.tensors, computed.tensors);
            expect(cached.logits).deep.equal(computed.logits);
          });
    });

    for (const bad of ['classifier.out_proj.weight', 'classifier.out_proj.bias'])
      it(`a NaN in ${bad} stops training`, async () => {
        using session = await recorded.session(model);
        await session.step([recorded.batch()], 1e-3);
        const good = (await session.tensors()).find((tensor) => tensor.name === bad)!;
        await session.setTensors([{ name: bad, data: good.data.map((value, i) => (i ? value : NaN)) }]);
        const [before, state] = [await session.tensors(), await session.state()];
        await session.step([recorded.batch()], 1e-3);
        expect((await session.metrics()).notFinite).equal(1);
        expectEqual(await session.tensors(), before);
        await session.setTensors([good]);
        await session.step([recorded.batch()], 1e-3);
        expect(await session.metrics()).include({ notFinite: 1, steps: 0 });
        await session.setTensors([{ name: bad, data: before.find((tensor) => tensor.name === bad)!.data }]);
        expectEqual(await session.tensors(), before);
        expect(await session.state()).deep.equal(state);
      });
  });

const withDropout = (checkpoint: Checkpoint): Checkpoint => ({
  ...checkpoint,
  spec: { ...checkpoint.spec, hiddenDropout: 0.1, attentionDropout: 0.1, headDropout: 0.1 },
});
