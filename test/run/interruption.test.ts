import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { LIGHT_TENSORS, PEFT_TENSORS } from '../../lib/adapter/files.ts';
import { readTensors, writeSafetensors } from '../../lib/checkpoint/safetensors.ts';
import { estimate, evaluate, type Options, type RunOptions, train, vanillaTrain } from '../../lib/index.ts';
import type { Plan } from '../../lib/plan/plan.ts';
import { TrainingState } from '../../lib/training-state.ts';
import { errorOf, Folder, stopAt } from './bench.ts';

describe('a run that may be stopped', () => {
  const folder = new Folder();
  const options = (changes: Partial<Options> = {}) => folder.options(changes);
  after(() => folder.remove());

  const phases: [string, (o: Options, run?: RunOptions) => Promise<unknown>, Partial<Options>, string[]][] = [
    ['vanilla-train', vanillaTrain, {}, [PEFT_TENSORS]],
    ['estimate', estimate, { maxSteps: 12 }, [PEFT_TENSORS, 'scores.safetensors']],
    [
      'train',
      train,
      { from: folder.file('estimate-whole'), estimationShare: 0.5, epochs: 4, freezeTail: 0.5 },
      [LIGHT_TENSORS, 'plan.json'],
    ],
    [
      'estimate-again',
      estimate,
      { from: folder.file('estimate-whole'), maxSteps: 12, carryMoments: true },
      [PEFT_TENSORS, 'scores.safetensors', 'moments.safetensors'],
    ],
  ];
  for (const [name, phase, changes, files] of phases)
    for (const gradientAccumulationSteps of name === 'vanilla-train' ? [1, 4] : [1])
      it(`${name} of ${gradientAccumulationSteps} micro-batches, resumed, is one never stopped`, async () => {
        const plain = { ...changes, gradientAccumulationSteps };
        const [whole, parts] = [folder.file(`${name}-whole`), folder.file(`${name}-parts`)];
        await phase(options({ ...plain, out: whole }));
        await stopAt(3, (run) => phase(options({ ...plain, out: parts }), run));
        expect(existsSync(folder.file(`${name}-parts`, 'training_state.safetensors'))).equal(true);
        const steps: number[] = [];
        const onProgress: RunOptions['onProgress'] = ({ step }) => steps.push(step);
        await phase(options({ ...plain, out: parts, resume: true }), { onProgress });
        expect(steps[0]).greaterThan(3);
        for (const file of files)
          expect(folder.bytes(`${name}-parts`, file).equals(folder.bytes(`${name}-whole`, file)), file).equal(
            true,
          );
        expect(existsSync(folder.file(`${name}-parts`, 'training_state.safetensors'))).equal(false);
      });

  it('that was stopped leaves an adapter that can be used', async () => {
    const out = folder.file('stopped');
    const message = await stopAt(5, (run) => vanillaTrain(options({ out }), run));
    expect(message).match(/stopped has what was learned by then; --resume goes on from step \d+$/);
    expect((await evaluate(options({ adapter: out }))).metrics).property('accuracy');
  });

  it('that was stopped leaves an earlier result as it is', async () => {
    const out = folder.file('finished');
    await vanillaTrain(options({ out }));
    const before = folder.bytes('finished', PEFT_TENSORS);
    const message = await stopAt(5, (run) => vanillaTrain(options({ out, seed: 2 }), run));
    expect(message).match(/finished has what it had before; --resume goes on from step \d+$/);
    expect(folder.bytes('finished', PEFT_TENSORS).equals(before)).equal(true);
    const model = options({ out: folder.file('finished-model'), peft: 'none', maxSteps: 8 });
    await vanillaTrain(model);
    const weights = folder.bytes('finished-model', 'model.safetensors');
    const other = await stopAt(3, (run) => vanillaTrain({ ...model, seed: 2 }, run));
    expect(other).match(/finished-model has what it had before/);
    expect(folder.bytes('finished-model', 'model.safetensors').equals(weights)).equal(true);
  });

  it('that was resumed and stopped again leaves what it has learned by then', async () => {
    const out = folder.file('stopped-twice');
    await stopAt(3, (run) => vanillaTrain(options({ out }), run));
    const first = folder.bytes('stopped-twice', PEFT_TENSORS);
    const message = await stopAt(8, (run) => vanillaTrain(options({ out, resume: true }), run));
    expect(message).match(/stopped-twice has what was learned by then; --resume goes on from step/);
    expect(folder.bytes('stopped-twice', PEFT_TENSORS).equals(first)).equal(false);
    const kept = folder.file('finished');
    const again = await stopAt(8, (run) => vanillaTrain(options({ out: kept, seed: 2, resume: true }), run));
    expect(again).match(/finished has what it had before/);
  });

  it('says that its result is there where it was stopped after it', async () => {
    const out = folder.file('evaluated');
    const abort = new AbortController();
    const onProgress: RunOptions['onProgress'] = ({ step, steps }) => {
      if (step === steps) abort.abort();
    };
    const { code, message } = await errorOf(
      estimate(options({ out, maxSteps: 4 }), { onProgress, signal: abort.signal }),
    );
    expect([code, existsSync(join(out, 'scores.safetensors'))]).deep.equal(['ABORTED', true]);
    expect(message).match(/evaluated has the result$/);
  });

  it('of rounds is not kept from going on by what an earlier run has left', async () => {
    const out = folder.file('rounds-after');
    await stopAt(3, (run) => estimate(options({ out, maxSteps: 8, targetParameters: 0.4 }), run));
    const rounds = options({ out, maxSteps: 8, rounds: 2, targetParameters: 0.3 });
    await stopAt(3, (run) => estimate(rounds, run));
    // What fails before it begins takes nothing away.
    const wrong = { ...rounds, validationFile: folder.file('nowhere.jsonl') };
    expect(await errorOf(estimate(wrong))).include({ code: 'BAD_DATA' });
    await estimate({ ...rounds, resume: true });
    expect(existsSync(join(out, 'scores.safetensors'))).equal(true);
  });

  it('saves its state as often as it is told to', async () => {
    const out = folder.file('saving');
    const seen: boolean[] = [];
    await vanillaTrain(options({ out, saveSteps: 5 }), {
      onProgress: () => seen.push(existsSync(folder.file('saving', 'training_state.safetensors'))),
    });
    expect([seen.indexOf(true), seen.length]).deep.equal([5, 12]);
  });

  it('takes away what a killed run has left, if it is old', async () => {
    const out = folder.file('swept');
    mkdirSync(out);
    const name = (digit: string) => `scores.safetensors.${digit.repeat(8)}-0000-4000-8000-000000000000.tmp`;
    for (const digit of ['a', 'b']) writeFileSync(join(out, name(digit)), 'half');
    utimesSync(join(out, name('a')), 1e9, 1e9);
    await vanillaTrain(options({ out, maxSteps: 1 }));
    expect(readdirSync(out).filter((file) => file.endsWith('.tmp'))).deep.equal([name('b')]);
  });

  it('does not go on where there is nothing, or another run', async () => {
    const out = folder.file('other');
    expect(await errorOf(vanillaTrain(options({ out, resume: true })))).include({ code: 'BAD_STATE' });
    await stopAt(3, (run) => vanillaTrain(options({ out }), run));
    const another = options({ out, resume: true, learningRate: 2e-3 });
    const { code, message } = await errorOf(vanillaTrain(another));
    expect(code).equal('BAD_STATE');
    expect(message).contain('--learning-rate: 0.001, not 0.002');
  });

  it('goes on beside the base that it began with, whatever the threads', async () => {
    const from = folder.file('estimate-whole');
    const [whole, stopped] = [folder.file('one-thread'), folder.file('other-threads')];
    await train(options({ from, out: whole, threads: 1 }));
    await stopAt(3, (run) => train(options({ from, out: stopped, threads: 1 }), run));
    const kept = join(stopped, 'training_delta.safetensors');
    const tensors = await readTensors(kept);
    const other = new Map(
      [...tensors].map(([name, { shape, data }]) => [name, { shape, data: data.map((x) => 2 * x) }]),
    );
    await writeSafetensors(kept, other, { format: 'pt' });
    expect(await errorOf(train(options({ from, out: stopped, resume: true })))).include({
      code: 'BAD_STATE',
    });
    await writeSafetensors(kept, tensors, { format: 'pt' });
    const another = options({ from, out: stopped, resume: true, targetParameters: 0.3 });
    expect(await errorOf(train(another))).include({ code: 'BAD_STATE' });
    await train(options({ from, out: stopped, threads: 3, resume: true }));
    expect(folder.bytes('other-threads', 'base_delta.safetensors')).deep.equal(
      folder.bytes('one-thread', 'base_delta.safetensors'),
    );
    expect(existsSync(join(stopped, 'training_delta.safetensors'))).equal(false);
  });

  it('does not go on at another rate', async () => {
    const light = { from: folder.file('estimate-whole'), out: folder.file('rate-stopped') };
    await stopAt(3, (run) => train(options({ ...light, adapterLr: 4 }), run));
    expect(await errorOf(train(options({ ...light, resume: true })))).include({ code: 'BAD_STATE' });
  });

  it('meets a target of time, measured once', async () => {
    const [from, out] = [folder.file('estimate-whole'), folder.file('timed')];
    const timed = options({ out, from, targetTime: 1, maxSteps: 2 });
    await train(timed);
    const { budget } = JSON.parse(String(folder.bytes('timed', 'plan.json'))) as Plan;
    expect(budget).deep.equal({ of: 'time', keep: 1 });
    const costs = () => String(folder.bytes('timed', 'step_times.json'));
    const stopped = { ...timed, maxSteps: 8 };
    await stopAt(3, (run) => train(stopped, run));
    const before = costs();
    await train({ ...stopped, resume: true });
    expect(costs()).equal(before);
  });

  it('ends an estimation when what it would cut has settled', async () => {
    const early = (changes: Partial<Options>) =>
      options({ maxSteps: 40, earlyStop: true, stopWindow: 2, stopDistance: 0.9, ...changes });
    const notes: string[] = [];
    const straight = await estimate(early({ out: folder.file('early') }), {
      onNote: (line) => notes.push(line),
    });
    expect(straight.steps).equal(11);
    expect(notes.some((line) => line.startsWith('settled: heads at step 10'))).equal(true);
    // In the middle, and at the look that ends it.
    for (const step of [7, 10]) {
      const name = `early-stopped-${step}`;
      const out = folder.file(name);
      await stopAt(step, (run) => estimate(early({ out }), run));
      expect((await estimate(early({ out, resume: true }))).steps).equal(11);
      for (const file of [PEFT_TENSORS, 'scores.safetensors'])
        expect(folder.bytes(name, file).equals(folder.bytes('early', file))).equal(true);
    }
  });

  it('writes over no estimate, nor estimates over an adapter', async () => {
    const out = folder.file('estimate-kept');
    await estimate(options({ out, maxSteps: 2 }));
    const { code, message } = await errorOf(vanillaTrain(options({ out, maxSteps: 2 })));
    expect(code).equal('BAD_OPTION');
    expect(message).match(/holds another kind of result \(scores.safetensors\)/);
    await estimate(options({ out, maxSteps: 2 }));
    const adapter = folder.file('adapter-kept');
    await vanillaTrain(options({ out: adapter, maxSteps: 2 }));
    const other = await errorOf(estimate(options({ out: adapter, maxSteps: 2 })));
    expect(other.message).match(/holds another kind of result \(adapter_config.json\)/);
  });

  for (const [name, phase, file] of [
    ['vanilla-train', vanillaTrain, PEFT_TENSORS],
    ['estimate', estimate, 'scores.safetensors'],
  ] as const)
    it(`${name} saves elsewhere what it has learned where it cannot be saved in its place`, async () => {
      const [out, whole] = [folder.file(`${name}-unsaved`), folder.file(`${name}-saved`)];
      mkdirSync(join(out, file, 'in the way'), { recursive: true });
      await phase(options({ out: whole, maxSteps: 2 }));
      const { code, message } = await errorOf(phase(options({ out, maxSteps: 2 })));
      const place = /a folder is in its place; what was to be saved is in (\S+), to be moved to \S+$/.exec(
        message,
      )?.[1];
      expect([code, place !== undefined], message).deep.equal(['IO', true]);
      expect(readFileSync(join(place!, file))).deep.equal(folder.bytes(`${name}-saved`, file));
      expect(readdirSync(out)).deep.equal([file]);
      rmSync(place!, { recursive: true });
    });

  it('saves its state elsewhere where it is stopped and that cannot be in its place', async () => {
    const out = folder.file('stopped-stateless');
    const file = join(out, 'training_state.safetensors');
    mkdirSync(file, { recursive: true });
    const notes: string[] = [];
    const onNote = (line: string) => void notes.push(line);
    const message = await stopAt(5, (run) => estimate(options({ out, maxSteps: 12 }), { ...run, onNote }));
    expect(message).match(/^stopped after \d+ of 12 steps$/);
    const place = /at step 5 could not be saved: .*; what was to be saved is in (\S+), to be moved to \S+$/
      .exec(notes.at(-1)!)!
      .at(1)!;
    rmSync(file, { recursive: true });
    cpSync(place, out, { recursive: true });
    rmSync(place, { recursive: true });
    await estimate(options({ out, maxSteps: 12, resume: true }));
    await estimate(options({ out: folder.file('never-stopped'), maxSteps: 12 }));
    expect(folder.bytes('stopped-stateless', 'scores.safetensors')).deep.equal(
      folder.bytes('never-stopped', 'scores.safetensors'),
    );
  });

  it('says that it can go on where what it has learned could not be saved', async () => {
    const out = folder.file('unsaved');
    const onProgress = () => mkdirSync(join(out, PEFT_TENSORS), { recursive: true });
    const { message } = await errorOf(
      vanillaTrain(options({ out, maxSteps: 4, saveSteps: 3 }), { onProgress }),
    );
    const place = /what was to be saved is in (\S+), to be moved to \S+; --resume goes on from step 3$/.exec(
      message,
    )?.[1];
    expect(place, message).not.equal(undefined);
    rmSync(place!, { recursive: true });
  });

  it('is over where its state cannot be taken away', async () => {
    const out = folder.file('state-stays');
    const file = join(out, 'training_state.safetensors', 'in the way');
    const notes: string[] = [];
    const onNote = (line: string) => void notes.push(line);
    const onProgress = () => mkdirSync(file, { recursive: true });
    await vanillaTrain(options({ out, maxSteps: 2 }), { onNote, onProgress });
    expect(notes.at(-1)).match(/^the state of this run stays: /);
  });

  it('goes on where its state cannot be saved, and says so', async () => {
    const out = folder.file('stateless');
    mkdirSync(join(out, 'training_state.safetensors'), { recursive: true });
    const notes: string[] = [];
    const onNote = (line: string) => {
      if (line.includes('could not be saved')) notes.push(line);
      if (notes.length === 2)
        rmSync(join(out, 'training_state.safetensors'), { recursive: true, force: true });
    };
    await vanillaTrain(options({ out, saveSteps: 5 }), { onNote });
    expect(notes.map((line) => /step \d+/.exec(line)![0])).deep.equal(['step 5', 'step 10']);
    expect(existsSync(join(out, PEFT_TENSORS))).equal(true);
  });

  it('does not go on without an option that it began with', async () => {
    const light = { from: folder.file('estimate-whole'), out: folder.file('left-out') };
    await stopAt(3, (run) => train(options({ ...light, freezeTail: 0.9 }), run));
    const { code, message } = await errorOf(train(options({ ...light, resume: true })));
    expect([code, /another --freeze-tail: 0.9, not nothing$/.test(message)]).deep.equal(['BAD_STATE', true]);
  });

  it('keeps an interrupted state where another run cannot save its own', async () => {
    const light = { from: folder.file('estimate-whole'), out: folder.file('two-states') };
    await stopAt(3, (run) => train(options(light), run));
    const files = ['training_state.safetensors', 'training_delta.safetensors'];
    const before = files.map((file) => folder.bytes('two-states', file));
    const delta = new Map([['layers.0.output.shift', { shape: [1], data: Float32Array.of(1) }]]);
    const state = new TrainingState(light.out, {}, delta);
    // Of which there is no JSON.
    const position = { step: 1, epoch: 0, position: 0, tokens: 0, seconds: 0, early: 1n };
    await errorOf(state.write(position, { stepsDone: 1, tensors: {} }));
    expect(files.map((file) => folder.bytes('two-states', file))).deep.equal(before);
    await train(options({ ...light, resume: true }));
  });

  it('ends well where its lock cannot be taken away', async () => {
    const out = folder.file('lock-replaced');
    const lock = join(out, '.run.lock');
    const onProgress = () => {
      rmSync(lock, { recursive: true });
      mkdirSync(lock);
    };
    await vanillaTrain(options({ out, maxSteps: 2 }), { onProgress });
    expect(existsSync(join(out, PEFT_TENSORS))).equal(true);
  });

  it('says where a folder cannot be locked', async () => {
    const out = folder.file('locked');
    mkdirSync(join(out, '.run.lock'), { recursive: true });
    expect(await errorOf(estimate(options({ out, maxSteps: 2 })))).include({ code: 'IO' });
  });
});
