import { readFileSync } from 'node:fs';
import { expect } from 'chai';
import { Model, Session } from '../../lib/engine.ts';
import { errorOf } from '../run/bench.ts';
import { type Case, loadCase } from './truth.ts';

describe('the engine', () => {
  let recorded: Case;
  let model: Model;
  before(async () => {
    ({ recorded, model } = await loadCase('roberta-tiny'));
  });
  after(() => model.dispose());

  it('stops at a gradient that is not finite though the loss is', async () => {
    const modules = recorded.modules(model).map((module) => ({ ...module, scale: 1e10 }));
    using session = await recorded.session(model, { modules });
    const huge = (await session.tensors())
      .filter(({ name }) => name.includes('.lora_'))
      .map(({ name, data }) => ({ name, data: data.map(() => (name.includes('lora_A') ? 1e30 : 0)) }));
    await session.setTensors(huge);
    const before = await session.tensors();
    expect((await session.evaluate(recorded.batch())).loss).finite;
    await session.step([recorded.batch()], 1e-3);
    expect(await session.metrics()).include({ notFinite: 0, steps: 0 });
    expect(await session.tensors()).deep.equal(before);
  });

  it('says what a step did wrong at the next call', async () => {
    using session = await recorded.session(model);
    const { inputs } = recorded.truth;
    await session.step(
      [
        recorded.batch(
          inputs,
          inputs.map(() => 77),
        ),
      ],
      1e-3,
    );
    expect(await errorOf(session.metrics())).include({ code: 'BAD_LABEL', name: 'LightPeftError' });
    await session.step([recorded.batch()], 1e-3);
    expect((await session.metrics()).steps).equal(1);
  });

  it('refuses a token that is not in the vocabulary', async () => {
    using session = await recorded.session(model);
    expect(await errorOf(session.evaluate(recorded.batch([[0, 5000, 2]], [0])))).include({
      code: 'BAD_DATA',
    });
  });

  it('answers every call on what was disposed of', async () => {
    const session = await recorded.session(model);
    const unfinished = [0, 1, 2].map(() =>
      errorOf(session.evaluate(recorded.batch())).catch(() => undefined),
    );
    session.dispose();
    session.dispose();
    for (const error of await Promise.all(unfinished)) if (error) expect(error).include({ code: 'DISPOSED' });
    expect(await errorOf(session.metrics())).include({ code: 'DISPOSED', name: 'LightPeftError' });
    expect(await errorOf(session.step([recorded.batch()], 0))).include({ code: 'DISPOSED' });
    const gone = await Model.load(recorded.checkpoint, { threads: 1 });
    gone.dispose();
    const config = recorded.sessionConfig(model);
    expect(() => new Session(gone, config))
      .throws()
      .include({ code: 'DISPOSED' });
  });

  it('runs on the threads that it is told to, under one OpenMP runtime', async () => {
    for (const threads of [1, 2]) {
      using session = new Session(model, recorded.sessionConfig(model), { threads });
      expect(await session.threads()).equal(threads);
    }
    const mapped = readFileSync('/proc/self/maps', 'utf8').match(/\/\S*lib(?:g|i)?omp\S*/g) ?? [];
    expect([...new Set(mapped)]).lengthOf(1);
  });

  it('refuses what is wider than its kernels', async () => {
    const { checkpoint } = recorded;
    const changes = [{ hidden: 16_640 }, { embedding: 16_640 }, { queryKeyNorm: true, headSize: 16_640 }];
    for (const change of changes) {
      const wide = { ...checkpoint, spec: { ...checkpoint.spec, ...change } };
      expect(await errorOf(Model.load(wide))).include({ code: 'UNSUPPORTED_MODEL' });
    }
  });
});
