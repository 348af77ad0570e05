import { expect } from 'chai';
import { Model, Session } from '../../lib/engine.ts';
import { Case, distance } from './truth.ts';

const LIMIT = 'LIGHT_PEFT_EMULATED_TOKENS';

describe('a step that a device has no memory for', function () {
  before(function () {
    // Only the emulated device can be told how much memory it has.
    if (!process.env['LIGHT_PEFT_ADDON']) this.skip();
  });
  afterEach(() => {
    delete process.env[LIMIT];
  });

  for (const [name, changes] of [
    ['roberta-tiny', {}],
    ['bert-odd', { masks: true, ratios: true }],
  ] as const) {
    const open = async (smallerBatches: boolean) => {
      const recorded = await Case.open(name);
      const model = await Model.load(recorded.checkpoint, { dtype: 'float32', threads: 2 });
      const config = recorded.sessionConfig(model, { ...changes, smallerBatches });
      return { recorded, model, session: new Session(model, config, { threads: 2 }) };
    };

    it(`${name}: is refused, and changes nothing`, async () => {
      const { recorded, model, session } = await open(false);
      const before = await session.tensors();
      process.env[LIMIT] = '10';
      let code: unknown;
      await session.step([recorded.batch()], 1e-2);
      await session.metrics().catch((error: { code?: unknown }) => (code = error.code));
      expect(code).equal('OUT_OF_MEMORY');
      expect((await session.tensors()).map(({ data }) => [...data])).deep.equal(
        before.map(({ data }) => [...data]),
      );
      session.dispose();
      model.dispose();
    });

    it(`${name}: is done in halves where that is asked, to the same end`, async () => {
      const [whole, small] = [await open(true), await open(true)];
      const { inputs } = whole.recorded.truth;
      for (let step = 0; step < 3; step++) {
        delete process.env[LIMIT];
        await whole.session.step([whole.recorded.batch()], 1e-2, { score: step > 0 });
        const all = await whole.session.metrics();
        expect(all.halvings).equal(0);
        process.env[LIMIT] = String(Math.max(...inputs.map((ids) => ids.length)));
        await small.session.step([small.recorded.batch()], 1e-2, { score: step > 0 });
        const parts = await small.session.metrics();
        expect(parts.halvings).least(1);
        expect(parts.loss).closeTo(all.loss, 1e-5 * Math.abs(all.loss));
        expect(parts.tokens).equal(all.tokens);
      }
      delete process.env[LIMIT];
      const [one, other] = [await whole.session.tensors('gradient'), await small.session.tensors('gradient')];
      for (const [i, { name: of, data }] of other.entries())
        expect(distance(data, one[i]!.data), of).below(1e-3);
      const [scores, of] = [await whole.session.scores(), await small.session.scores()];
      for (const [measure, pieces] of Object.entries(scores.measures))
        for (const [i, piece] of pieces.entries())
          expect(distance(of.measures[measure as 'ratios'][i]!, piece), `${measure} ${i}`).below(1e-3);
      for (const { model, session } of [whole, small]) {
        session.dispose();
        model.dispose();
      }
    });
  }
});
