import { expect } from 'chai';
import { corrections, layerCuts } from '../../lib/adapter/delta.ts';
import { Model, Session } from '../../lib/engine.ts';
import type { LayerCut } from '../../lib/native.ts';
import type { Plan } from '../../lib/plan/plan.ts';
import { type Case, distance, loadCase } from './truth.ts';

const range = (n: number) => Array.from({ length: n }, (_, i) => i);

for (const name of ['roberta-tiny', 'llama-tiny', 'gptj-tiny'])
  describe(`${name}: what least squares give back of a cut`, () => {
    let recorded: Case;
    let model: Model;
    let whole: Session;
    before(async () => {
      ({ recorded, model } = await loadCase(name));
      whole = await recorded.session(model);
    });
    after(() => {
      whole.dispose();
      model.dispose();
    });

    const logits = async (session: Session) => (await session.evaluate(recorded.batch())).logits;

    /** How far a cut is from the whole model, and what is found for it by corrections of a rank. */
    async function cut(layers: LayerCut[], rank: number) {
      using small = await model.cut(layers, { threads: 2 });
      using session = await recorded.session(small);
      const found = await whole.reconstruct(session, [recorded.batch()], rank);
      const changes = layerCuts({ layers } as Plan, corrections(found));
      using mended = await model.cut(
        layers.map(({ headScale, neuronScale }, l) => ({ ...changes[l]!, headScale, neuronScale })),
        { threads: 2 },
      );
      using again = await recorded.session(mended);
      const far = async (one: Session) => distance(await logits(one), await logits(whole));
      return { found, before: await far(session), after: await far(again) };
    }

    const all = (): LayerCut[] =>
      range(recorded.checkpoint.spec.layers).map(() => ({
        heads: range(recorded.checkpoint.spec.heads),
        neurons: range(recorded.checkpoint.spec.ffn),
      }));

    it('is nothing where nothing is cut', async () => {
      const { found, after } = await cut(all(), 4);
      for (const { attention, output } of found)
        for (const { shift, correction } of [attention, output]) {
          expect(Math.max(0, ...(shift ?? []).map(Math.abs))).below(1e-5);
          expect(Math.max(0, ...(correction?.a ?? []).map(Math.abs))).below(1e-5);
        }
      expect(after).below(1e-4);
    });

    it('is a shift where nothing varies', async () => {
      const scales = new Float32Array(recorded.checkpoint.spec.ffn).fill(0.5);
      using small = await model.cut(
        all().map((layer) => ({ ...layer, neuronScale: scales })),
        { threads: 2 },
      );
      using session = await recorded.session(small);
      const [text] = recorded.truth.inputs;
      const found = await whole.reconstruct(session, [recorded.batch([text!.slice(0, 1)])], 4);
      for (const { output } of found) {
        expect(output.correction).equal(undefined);
        expect(output.shift!.every(Number.isFinite)).equal(true);
      }
    });

    it('needs a cut of the same model', async () => {
      const { model: other, recorded: cased } = await loadCase('bert-odd');
      using session = await cased.session(other);
      const failed = await whole.reconstruct(session, [recorded.batch()], 4).catch((error: unknown) => error);
      expect(failed).include({ code: 'INTERNAL' });
      other.dispose();
    });

    it('is nearly all where what is left tells all', async () => {
      const { ffn, heads } = recorded.checkpoint.spec;
      // Every unit is there, at half of its worth.
      const halved = all().map((layer) => ({
        ...layer,
        headScale: new Float32Array(heads).fill(0.5),
        neuronScale: new Float32Array(ffn).fill(0.5),
      }));
      const { before, after } = await cut(halved, 1000);
      expect(after).below(0.2 * before);
    });
  });
