import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import type { AdapterInfo } from '../../lib/adapter/info.ts';
import { PEFT_TENSORS, LIGHT_TENSORS } from '../../lib/adapter/files.ts';
import { openCheckpoint } from '../../lib/checkpoint/folder.ts';
import { readTensors } from '../../lib/checkpoint/safetensors.ts';
import type { Prediction } from '../../lib/evaluation.ts';
import { estimate, evaluate, type Options, predict, train, vanillaTrain } from '../../lib/index.ts';
import { purposeOf } from '../../lib/plan/estimate-file.ts';
import { keptShares } from '../../lib/plan/inspect.ts';
import type { Plan } from '../../lib/plan/plan.ts';
import { checkCut, cutAgain } from '../../lib/plan-options.ts';
import { type Cut, settle } from '../../lib/options.ts';
import { diffPlans, inspectPlan, planDistances, reportPlan } from '../../lib/plan-report.ts';
import { ENCODER, errorOf, Folder } from './bench.ts';

describe('a training run', () => {
  const folder = new Folder();
  const options = (changes: Partial<Options> = {}) => folder.options(changes);
  after(() => folder.remove());
  before(() => estimate(options({ out: folder.file('estimate-whole'), maxSteps: 12 })));

  it('whose loss is no number any more keeps the last good state', async () => {
    const out = folder.file('diverged');
    const diverging = options({ out, learningRate: 1e37, maxGradNorm: 0, warmupRatio: 0, dtype: 'float32' });
    const { code, message } = await errorOf(vanillaTrain(diverging));
    expect(code).equal('NOT_FINITE');
    expect(message).contain('has what was learned by then');
    for (const { data } of (await readTensors(folder.file('diverged', PEFT_TENSORS))).values())
      expect(data.every(Number.isFinite)).equal(true);
  });

  it('whose loss is no number any more takes the place of no earlier result', async () => {
    const out = folder.file('diverged-again');
    await vanillaTrain(options({ out }));
    const good = folder.bytes('diverged-again', PEFT_TENSORS);
    const diverging = options({ out, learningRate: 1e37, maxGradNorm: 0, warmupRatio: 0, dtype: 'float32' });
    const { code, message } = await errorOf(vanillaTrain(diverging));
    expect([code, message.includes('has what was learned')]).deep.equal(['NOT_FINITE', false]);
    expect(folder.bytes('diverged-again', PEFT_TENSORS).equals(good)).equal(true);
  });

  it('lets what is left of an adapter learn at a rate of its own', async () => {
    const from = folder.file('estimate-whole');
    const after = async (name: string, changes: Partial<Options>) => {
      await train(options({ out: folder.file(name), from, maxSteps: 1, warmupRatio: 0, ...changes }));
      return await readTensors(folder.file(name, LIGHT_TENSORS));
    };
    const [start, once, twice, usual] = await Promise.all([
      after('rate-0', { learningRate: 0 }),
      after('rate-1', { adapterLr: 1 }),
      after('rate-2', { adapterLr: 2 }),
      after('rate', {}),
    ]);
    const moved = (to: typeof start, lora: boolean): number =>
      [...start].reduce((sum, [name, { data }]) => {
        const other = to.get(name)!.data;
        const distances = data.map((value, i) => Math.abs(value - other[i]!));
        return name.includes('.lora_') === lora ? sum + distances.reduce((a, b) => a + b, 0) : sum;
      }, 0);
    // A first step of AdamW is as long as its rate.
    expect(moved(twice, true) / moved(once, true)).closeTo(2, 1e-3);
    // A quarter of the adapter is left.
    expect(moved(usual, true) / moved(once, true)).closeTo(Math.SQRT2, 0.02);
    expect(moved(twice, false)).equal(moved(once, false));
  });

  it('mends nothing where nothing is cut', async () => {
    const [from, out] = [folder.file('estimate-whole'), folder.file('uncut')];
    await train(options({ from, out, targetParameters: 1, targetPeft: 1, maxSteps: 2 }));
    expect(existsSync(join(out, 'base_delta.safetensors'))).equal(false);
  });

  it('measures what evaluate measures of its adapter, and predict predicts', async () => {
    const out = folder.file('light');
    const from = folder.file('estimate-whole');
    const { metrics, peftParameters, encoderParametersKept, encoderParameters } = await train(
      options({ out, from, loraR: 2, loraAlpha: 1 }),
    );
    const again = await evaluate(options({ adapter: out }));
    expect(again.metrics).deep.equal(metrics);
    expect(again).include({ peftParameters, encoderParametersKept });
    expect(encoderParametersKept).lessThan(0.7 * encoderParameters);
    const predictions = await predict(options({ adapter: out, input: options().validationFile! }));
    expect(predictions.length).equal(24);
    expect(Object.keys(predictions[0]!)).deep.equal(['idx', 'logits', 'label']);
  });

  it('may keep the values of the masks', async () => {
    const [from, out] = [folder.file('estimate-l1'), folder.file('folded')];
    await estimate(options({ out: from, maxSteps: 4, estimator: 'l1' }));
    const { metrics } = await train(options({ out, from, foldMasks: true }));
    expect(existsSync(folder.file('folded', 'base_delta.safetensors'))).equal(true);
    expect((await evaluate(options({ adapter: out }))).metrics).deep.equal(metrics);
  });

  it('may keep masks of several rounds, and give back what they took', async () => {
    const [from, out] = [folder.file('rounds-l1'), folder.file('rounds-folded')];
    const cut = { targetParameters: 0.5, targetPeft: 0.5 };
    await estimate(options({ ...cut, out: from, maxSteps: 4, estimator: 'l1', rounds: 2 }));
    const { metrics } = await train(options({ ...cut, out, from, foldMasks: true }));
    const delta = await readTensors(folder.file('rounds-folded', 'base_delta.safetensors'));
    expect([...delta.keys()]).include.members(['layers.0.head_scale', 'layers.0.output.correction_a']);
    for (const { data } of delta.values()) expect(data.every(Number.isFinite)).equal(true);
    expect((await evaluate(options({ adapter: out }))).metrics).deep.equal(metrics);
  });

  it('may put the mean of what is cut in its place', async () => {
    const [from, out] = [folder.file('estimate-whole'), folder.file('compensated')];
    const { metrics } = await train(options({ out, from, compensate: 'mean', targetParameters: 0.4 }));
    const delta = await readTensors(folder.file('compensated', 'base_delta.safetensors'));
    expect([...delta.keys()]).include('layers.0.output.bias_shift');
    expect((await evaluate(options({ adapter: out }))).metrics).deep.equal(metrics);
  });

  it('meets a target of parameters', async () => {
    const [from, out] = [folder.file('estimate-whole'), folder.file('target')];
    const { encoderParametersKept, encoderParameters } = await train(
      options({ out, from, targetParameters: 0.6, protect: [0], maxSteps: 2 }),
    );
    expect(encoderParametersKept / encoderParameters).within(0.58, 0.6);
    const text = await inspectPlan(out, { measure: true, threads: 1 });
    expect(text)
      .match(/60\.0 % of its parameters asked for, 25\.0 % of its PEFT parameters asked for/)
      .match(/times as fast measured/);
    expect(text).contain('0  ●●●●●●●●');
    expect(await diffPlans(out, out)).contain('heads      0.0 %');
    const { plan, parameters, operations, expectedSpeedup } = await reportPlan(out);
    expect(plan.budget).deep.equal({ of: 'parameters', keep: 0.6 });
    expect(parameters).within(0.58, 0.6);
    expect(expectedSpeedup * operations).closeTo(1, 1e-9);
    // Classes are told by one token of the last layer.
    const { spec } = await openCheckpoint(ENCODER);
    expect(operations).equal(keptShares(plan, spec, 128, { every: false }).operations);
    expect(await planDistances(out, out)).deep.equal({ heads: 0, neurons: 0, modules: 0, ranks: 0 });
    expect(await errorOf(train(options({ out, from, targetParameters: 0.01 })))).include({
      code: 'BAD_OPTION',
    });
  });

  it('cuts as was estimated for, but for what it is told', async () => {
    const [from, out] = [folder.file('estimate-for'), folder.file('light-as-estimated')];
    await estimate(options({ out: from, maxSteps: 4, targetParameters: 0.4, targetPeft: 0.5, protect: [0] }));
    const notes: string[] = [];
    const planOf = async (changes: Partial<Options> = {}) => {
      const onNote = (line: string) => notes.push(line);
      await train(options({ out, from, maxSteps: 1, ...changes }), { onNote });
      return JSON.parse(String(folder.bytes('light-as-estimated', 'plan.json'))) as Plan;
    };
    const plan = await planOf();
    expect(plan.budget).deep.equal({ of: 'parameters', keep: 0.4 });
    expect(plan.layers[0]!.heads).lengthOf(8);
    expect(notes).include('cuts as was estimated for: --target-parameters 0.4 --target-peft 0.5 --protect 0');
    const other = await planOf({ headRatio: 0.5, targetPeft: 0.9, protect: [1] });
    expect([other.budget, other.layers[1]!.heads.length]).deep.equal([undefined, 8]);
    expect(await inspectPlan(out)).match(
      /; 50\.0 % of its heads, 33\.3 % of its neurons to be cut, 90\.0 % of/,
    );
    expect(notes.filter((line) => line.startsWith('cuts as'))).lengthOf(1);
    const again = folder.file('estimate-further');
    await estimate(options({ out: again, from, maxSteps: 2, targetParameters: 0.8 }));
    const { cut } = await purposeOf(folder.file('estimate-further', 'scores.safetensors'));
    expect(cut).deep.equal({ targetParameters: 0.8, targetPeft: 0.5, protect: [0] });
  });

  it('takes of a cut what goes with what is said now', () => {
    const cases: [Cut, Cut, Cut][] = [
      [
        { headRatio: 0.5, depth: 0.1 },
        { headScope: 'global' },
        { headRatio: 0.5, headScope: 'global', depth: 0.1 },
      ],
      [{ headRatio: 0.5, headScope: 'global' }, { targetTime: 0.5 }, { targetTime: 0.5 }],
      [{ targetFlops: 0.5, minHeads: 1 }, { targetParameters: 0.4 }, { targetParameters: 0.4, minHeads: 1 }],
      [{ targetPeft: 0.5, rankRoundTo: 8 }, { moduleRatio: 0.5 }, { moduleRatio: 0.5 }],
      [{ moduleRatio: 0.5, rankRatio: 0.2 }, { rankRoundTo: 4 }, { rankRoundTo: 4 }],
      [{ moduleRatio: 0.5, rankRatio: 0.2 }, { rankRatio: 0.3 }, { moduleRatio: 0.5, rankRatio: 0.3 }],
    ];
    for (const [before, now, both] of cases) {
      expect(cutAgain(before, now)).deep.equal(both);
      checkCut(settle(options(both)));
    }
  });

  it('estimates what is left again and again, and what is gone stays gone', async () => {
    const [out, light] = [folder.file('rounds'), folder.file('rounds-light')];
    const cut = { targetParameters: 0.4, targetPeft: 0.2, minHeads: 0, minNeurons: 0, roundTo: 8 };
    const { encoderParametersKept, encoderParameters } = await estimate(
      options({ ...cut, out, maxSteps: 4, rounds: 3 }),
    );
    expect(encoderParametersKept / encoderParameters).within(0.4 ** (2 / 3) - 0.02, 0.4 ** (2 / 3));
    const masks = await readTensors(folder.file('rounds', 'scores.safetensors'));
    const gone = (name: string) =>
      [...masks.get(name)!.data].flatMap((value, i) => (Number.isNaN(value) ? [i] : []));
    await train(options({ ...cut, out: light, from: out, maxSteps: 2, carryMoments: true }));
    const { layers } = JSON.parse(String(folder.bytes('rounds-light', 'plan.json'))) as Plan;
    let lost = 0;
    for (const [l, { neurons }] of layers.entries()) {
      const before = gone(`masks.neurons.${l}`);
      lost += before.length;
      expect(before.filter((neuron) => neurons.includes(neuron))).deep.equal([]);
    }
    expect(lost).greaterThan(0);
    const again = options({ ...cut, out, maxSteps: 4, rounds: 3 });
    expect(await errorOf(estimate({ ...again, resume: true }))).include({ code: 'BAD_STATE' });
    const parts = folder.file('rounds-parts');
    let reports = 0;
    const abort = new AbortController();
    const stopping = { signal: abort.signal, onProgress: () => void (++reports === 6 && abort.abort()) };
    expect(await errorOf(estimate({ ...again, out: parts }, stopping))).include({ code: 'ABORTED' });
    const other = { ...again, out: parts, resume: true, learningRate: 2e-3 };
    expect(await errorOf(estimate(other))).include({ code: 'BAD_STATE' });
    await estimate({ ...again, out: parts, resume: true });
    for (const file of [PEFT_TENSORS, 'scores.safetensors', 'moments.safetensors'])
      expect(folder.bytes('rounds-parts', file).equals(folder.bytes('rounds', file)), file).equal(true);
    // The estimate's adapter is no teacher: it was trained on less than the whole.
    expect(await errorOf(train(options({ ...cut, out: light, from: out, distill: 0.5 })))).include({
      code: 'BAD_OPTION',
    });
    expect(await errorOf(estimate(options({ out: parts, from: out, earlyStop: true })))).include({
      code: 'BAD_OPTION',
    });
  });

  it('starts with the weights from before the estimation, where it is told to', async () => {
    const [from, out] = [folder.file('estimate-whole'), folder.file('rewound')];
    await train(options({ out, from, rewind: true, learningRate: 0, targetPeft: 1 }));
    const rewound = await readTensors(folder.file('rewound', LIGHT_TENSORS));
    for (const [name, { data }] of rewound)
      if (name.includes('lora_B')) expect(data.every((value) => value === 0)).equal(true);
    expect(await errorOf(train(options({ out, from, rewind: true, carryMoments: true })))).include({
      code: 'BAD_OPTION',
    });
  });

  it('goes on with the rank, alpha and targets that the estimate used', async () => {
    const [from, out] = [folder.file('other-lora'), folder.file('other-light')];
    const targetModules = ['query', 'intermediate.dense'];
    await estimate(options({ out: from, maxSteps: 4, loraR: 4, loraAlpha: 5, targetModules }));
    await train(options({ out, from }));
    const info = JSON.parse(String(folder.bytes('other-light', 'light_peft.json'))) as AdapterInfo;
    expect(info).deep.include({ r: 4, alpha: 5, targetModules });
  });

  it('tells choices apart, also by what a teacher says of them', async () => {
    const rows = Array.from({ length: 24 }, (_, i) => ({
      ...{ sentence: 'what shines?', one: i % 2 ? 'the sun' : 'a stone', two: i % 2 ? 'a stone' : 'the sun' },
      label: (i + 1) % 2,
    }));
    const file = folder.write('choices.jsonl', rows.map((row) => JSON.stringify(row)).join('\n'));
    const choices = options({
      ...{
        trainFile: file,
        validationFile: file,
        choiceColumns: ['one', 'two'],
        epochs: 20,
      },
    });
    const [vanilla, from, light] = ['choices', 'choices-estimate', 'choices-light'].map((name) =>
      folder.file(name),
    );
    expect((await vanillaTrain({ ...choices, out: vanilla })).metrics).deep.equal({ accuracy: 1 });
    const predictions = (await predict(options({ adapter: vanilla, input: file }))) as Prediction[];
    expect(predictions.map(({ label }) => label)).deep.equal(rows.map(({ label }) => label));
    expect(predictions[0]!.logits).lengthOf(2);
    await estimate({ ...choices, out: from, maxSteps: 12 });
    const taught = { distill: 1, distillStates: 0.1, teacher: vanilla };
    const { metrics } = await train({ ...choices, ...taught, from, out: light });
    expect(metrics).deep.equal({ accuracy: 1 });
    expect((await evaluate({ ...options({ adapter: light }), validationFile: file })).metrics).deep.equal(
      metrics,
    );
    expect(
      await errorOf(train({ ...options({ from: folder.file('estimate-whole'), out: light }), ...taught })),
    ).include({
      code: 'BAD_OPTION',
    });
  });

  it('says that the head is new, and which tensors have no use', async () => {
    const notes: string[] = [];
    await vanillaTrain(options({ out: folder.file('notes'), maxSteps: 1 }), {
      onNote: (line) => notes.push(line),
    });
    expect(notes.join('\n')).match(/has no task head; a new one is initialised from seed 42/);
  });
});
