import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { PEFT_TENSORS } from '../../lib/adapter/files.ts';
import { readHeader, readTensors, writeSafetensors } from '../../lib/checkpoint/safetensors.ts';
import { estimate, evaluate, LightPeftError, type Options, train, vanillaTrain } from '../../lib/index.ts';
import { ENCODER, errorOf, Folder } from './bench.ts';

describe('what is wrong is refused before it is used', () => {
  const folder = new Folder();
  after(() => folder.remove());
  const options = (changes: Partial<Options>) => folder.options({ maxSteps: 2, ...changes });
  const [estimated, light] = [folder.file('estimated'), folder.file('light')];

  before(async () => {
    await estimate(options({ out: estimated, estimator: 'l1' }));
    await train(options({ from: estimated, out: light, foldMasks: true }));
  });

  const copy = (from: string, name: string) => {
    const to = folder.file(name);
    cpSync(from, to, { recursive: true });
    return to;
  };
  const withTensor = async (file: string, change: (data: Float32Array) => void) => {
    const [{ metadata }, tensors] = [await readHeader(file), await readTensors(file)];
    change([...tensors.values()][0]!.data);
    await writeSafetensors(file, tensors, metadata);
  };

  it('logits that are no numbers', async () => {
    const adapter = copy(estimated, 'nan');
    await withTensor(join(adapter, PEFT_TENSORS), (data) => data.fill(NaN));
    expect(await errorOf(evaluate(options({ adapter })))).include({ code: 'NOT_FINITE' });
  });

  it('a folder that holds the other kind of adapter', async () => {
    const { code, message } = await errorOf(train(options({ from: estimated, out: estimated })));
    expect(code).equal('BAD_OPTION');
    expect(message).contain('another kind of result');
    expect(await errorOf(vanillaTrain(options({ out: light })))).include({ code: 'BAD_OPTION' });
  });

  it("a light adapter without its base's changes", async () => {
    const adapter = copy(light, 'no-delta');
    rmSync(join(adapter, 'base_delta.safetensors'));
    expect(await errorOf(evaluate(options({ adapter })))).include({ code: 'BAD_ADAPTER' });
  });

  it('changes of a base that do not fit it', async () => {
    const file = join(light, 'base_delta.safetensors');
    const whole = await readTensors(file);
    const [name, a] = [...whole].find(([tensor]) => tensor.endsWith('correction_a'))!;
    const other = name.replace(/a$/, 'b');
    const b = whole.get(other)!;
    const [rank, inputs] = a.shape as [number, number];
    interface Part {
      shape: readonly number[];
      data: Float32Array;
    }
    const cut = (tensor: Part, ...shape: number[]): Part => ({
      shape,
      data: tensor.data.slice(
        0,
        shape.reduce((product, n) => product * n, 1),
      ),
    });
    const wrong: Record<string, [string, Part | undefined][]> = {
      'one half alone': [[other, undefined]],
      'no rank': [
        [name, cut(a, 0, inputs)],
        [other, cut(b, b.shape[0]!, 0)],
      ],
      'ranks that differ': [[name, cut(a, rank - 1, inputs)]],
      'other inputs': [[name, cut(a, rank, inputs - 1)]],
      'other outputs': [[other, cut(b, b.shape[0]! - 1, rank)]],
      'a vector': [[name, cut(a, rank * inputs)]],
    };
    for (const [title, changes] of Object.entries(wrong)) {
      const adapter = copy(light, 'other-delta');
      const tensors = new Map<string, Part>(whole);
      for (const [tensor, value] of changes)
        if (value) tensors.set(tensor, value);
        else tensors.delete(tensor);
      await writeSafetensors(join(adapter, 'base_delta.safetensors'), tensors, { format: 'pt' });
      expect(await errorOf(evaluate(options({ adapter }))), title).include({ code: 'BAD_ADAPTER' });
    }
  });

  it("another adapter's changes of the same base", async () => {
    const other = folder.file('light-rewound');
    await train(options({ from: estimated, out: other, foldMasks: true, rewind: true }));
    const adapter = copy(light, 'mixed');
    cpSync(join(other, 'base_delta.safetensors'), join(adapter, 'base_delta.safetensors'));
    expect(await errorOf(evaluate(options({ adapter })))).include({ code: 'BAD_ADAPTER' });
  });

  it('an adapter whose two descriptions differ, or that another base has', async () => {
    const adapter = copy(estimated, 'edited');
    const file = join(adapter, 'light_peft.json');
    const info = JSON.parse(readFileSync(file, 'utf8')) as object;
    writeFileSync(file, JSON.stringify({ ...info, r: 4 }));
    expect(await errorOf(evaluate(options({ adapter })))).include({ code: 'BAD_ADAPTER' });
    writeFileSync(file, JSON.stringify({ ...info, fingerprint: 'abc' }));
    expect(await errorOf(evaluate(options({ adapter })))).include({ code: 'BAD_ADAPTER' });
  });

  it('an adapter that says of files what cannot be', async () => {
    const adapter = copy(estimated, 'misread');
    const file = join(adapter, 'light_peft.json');
    const info = JSON.parse(readFileSync(file, 'utf8')) as object;
    const reads: [object, RegExp][] = [
      [{ task: 'sst9' }, /: reads: there is no task "sst9"/],
      [{ metric: 'roc' }, /: reads\.metric: /],
      [{ tagColumn: 'a', answerColumn: 'b' }, /: reads: --tag-column and --answer-column exclude each other/],
    ];
    for (const [said, why] of reads) {
      writeFileSync(file, JSON.stringify({ ...info, reads: said }));
      const { code, message } = await errorOf(evaluate(options({ adapter })));
      expect(code).equal('BAD_ADAPTER');
      expect(message).match(why);
    }
  });

  it('a second run that writes to the same folder while the first does', async () => {
    const runs = [
      (out: string) => vanillaTrain(options({ out, maxSteps: 20 })),
      (out: string) => estimate(options({ out, maxSteps: 10, rounds: 2 })),
    ];
    for (const [i, first] of runs.entries())
      for (const [j, second] of runs.entries()) {
        const out = folder.file(`shared-${i}-${j}`);
        const both = await Promise.all(
          [first, second].map((run) => run(out).catch((error: unknown) => error)),
        );
        const refused = both.filter((one) => one instanceof LightPeftError);
        expect(refused).lengthOf(1);
        expect(refused[0]).include({
          code: 'BAD_OPTION',
          message: `process ${process.pid} is writing to ${out}`,
        });
        expect(readdirSync(out).filter((name) => name.endsWith('.lock'))).deep.equal([]);
      }
  });

  it('more heads or neurons for every layer than there are', async () => {
    const refusal = async (changes: Partial<Options>) =>
      (await errorOf(
        train(options({ from: estimated, out: folder.file('never'), ...changes })),
      )) as LightPeftError;
    const { code, message } = await refusal({ minHeads: 9 });
    expect(code).equal('BAD_OPTION');
    expect(message).match(/^--min-heads: a layer has \d heads, not 9$/);
    expect((await refusal({ minNeurons: 5000 })).message).match(
      /^--min-neurons: a layer has \d+ neurons, not 5000$/,
    );
    expect((await refusal({ roundTo: 5000 })).message).match(
      /^--round-to: a layer has \d+ neurons, not 5000$/,
    );
  });

  it('scores that were edited, or whose modules are not trained', async () => {
    const from = copy(estimated, 'edited-scores');
    const file = join(from, 'scores.safetensors');
    const { metadata } = await readHeader(file);
    const whole = await readTensors(file);
    const refuses = async (
      tensors: Parameters<typeof writeSafetensors>[1],
      about: Record<string, string>,
    ) => {
      await writeSafetensors(file, tensors, { ...metadata, ...about });
      const { code, message } = await errorOf(train(options({ from, out: folder.file('never') })));
      expect({ about, code }).deep.equal({ about, code: 'BAD_SCORES' });
      expect(message).contain(file);
    };
    const places = JSON.parse(metadata['modules']!) as object[];
    const lists = [places.toReversed(), places.slice(1), [places[0], ...places.slice(0, -1)]];
    for (const modules of ['[{', 'null', '[null]', '[]', ...lists.map((list) => JSON.stringify(list))])
      await refuses(whole, { modules });
    for (const about of [{ taken: '0' }, { steps: '0' }, { taken: '9'.repeat(30) }])
      await refuses(whole, about);
    type Edit = (data: Float32Array) => Float32Array;
    const with0 =
      (value: number): Edit =>
      (data) =>
        data.map((old, i) => (i === 0 ? value : old));
    const edits: [string, Edit][] = [
      ['masks.', (data) => data.map(() => NaN)],
      ['rankTaylor', (data) => data.map(() => NaN)],
      ['masks.heads.0', with0(Infinity)],
      ['headTaylor.0', with0(NaN)],
      ['neuronMean.1', with0(NaN)],
      ['ranks.0', with0(NaN)],
      ['rank', (data) => data.slice(1)],
      ['contextMean.0', (data) => data.slice(1)],
      ['neuron', (data) => data.slice(1)],
    ];
    for (const [begins, edit] of edits) {
      const edited = [...whole].map(([name, { shape, data }]) => {
        const changed = name.startsWith(begins) ? edit(data) : data;
        return [name, { shape: changed === data ? shape : [changed.length], data: changed }] as const;
      });
      await refuses(new Map(edited), { edited: begins });
    }
    const few = copy(estimated, 'few-targets');
    const about = JSON.parse(readFileSync(join(few, 'light_peft.json'), 'utf8')) as object;
    writeFileSync(join(few, 'light_peft.json'), JSON.stringify({ ...about, targetModules: ['query'] }));
    const all = options({ from: few, out: folder.file('never'), moduleRatio: 0 });
    expect(await errorOf(train(all))).include({ code: 'BAD_PLAN' });
  });

  it('scores taken with another tokenizer', async () => {
    const from = copy(estimated, 'other-tokens');
    const file = join(from, 'scores.safetensors');
    const { metadata } = await readHeader(file);
    await writeSafetensors(file, await readTensors(file), { ...metadata, tokenizer: 'abc' });
    const { code, message } = await errorOf(train(options({ from, out: folder.file('never') })));
    expect(code).equal('BAD_SCORES');
    expect(message).contain('another tokenizer');
  });

  it('a metric of the other kind of labels', async () => {
    const metric = options({ out: folder.file('never'), metric: 'pearson', labelNames: ['0', '1'] });
    expect(await errorOf(vanillaTrain(metric))).include({ code: 'BAD_OPTION' });
    expect(await errorOf(vanillaTrain({ ...metric, task: 'stsb', metric: 'accuracy' }))).property('code');
    const named = options({ out: folder.file('never'), metric: 'pearson', task: 'sst2' });
    expect(await errorOf(vanillaTrain(named))).include({ code: 'BAD_OPTION' });
  });

  it("labels in another order than the estimate's", async () => {
    const from = copy(estimated, 'reordered');
    const file = join(from, 'light_peft.json');
    const { labels, ...info } = JSON.parse(readFileSync(file, 'utf8')) as { labels: string[] };
    writeFileSync(file, JSON.stringify({ ...info, labels: labels.toReversed() }));
    const named = options({ from, out: folder.file('never'), labelNames: ['0', '1'] });
    expect(await errorOf(train(named))).include({
      code: 'BAD_OPTION',
      message: `--from: ${from} has learned 1, 0, and the data tells 0, 1; see --label-names`,
    });
  });

  it('a folder in which another run has ended while the files were read', async () => {
    const out = folder.file('overtaken');
    // What is told of cut texts comes after reading and before the folder is locked.
    const onNote = () => {
      mkdirSync(out, { recursive: true });
      writeFileSync(join(out, 'scores.safetensors'), 'of another run');
    };
    const { code, message } = await errorOf(vanillaTrain(options({ out, maxLength: 4 }), { onNote }));
    expect(code).equal('BAD_OPTION');
    expect(message).match(/holds another kind of result \(scores.safetensors\)/);
    expect(readdirSync(out)).deep.equal(['scores.safetensors']);
  });

  it('what would write over what it reads', async () => {
    const link = folder.file('link-to-estimate');
    symlinkSync(estimated, link);
    expect(await errorOf(estimate(options({ from: estimated, out: link, maxSteps: 2 })))).include({
      code: 'BAD_OPTION',
      message: '--out: the estimate to go on from would be overwritten',
    });
    const teacher = folder.file('teacher');
    await vanillaTrain(options({ out: teacher, maxSteps: 1 }));
    const taught = options({ from: estimated, distill: 0.5, teacher, out: teacher });
    expect(await errorOf(train(taught))).include({
      code: 'BAD_OPTION',
      message: '--out: the teacher would be overwritten',
    });
  });

  it('rounds to go on with that cannot be read', async () => {
    const out = folder.file('broken-rounds');
    mkdirSync(out);
    writeFileSync(join(out, 'rounds.json'), '{');
    const resumed = estimate(options({ out, maxSteps: 2, rounds: 2, resume: true }));
    expect(await errorOf(resumed)).include({ code: 'BAD_STATE' });
  });

  it('a task of other labels than an adapter has learned', async () => {
    for (const [task, told] of [
      ['cb', '3 labels apart'],
      ['stsb', 'a value'],
    ] as const) {
      const asked = options({ adapter: estimated, task, out: undefined });
      const { code, message } = await errorOf(evaluate({ ...asked, validationFile: asked.trainFile! }));
      expect({ code, message }).deep.equal({
        code: 'BAD_OPTION',
        message: `the task tells ${told}, and what was trained 2`,
      });
    }
  });

  it('a training state that was edited', async () => {
    const out = folder.file('state');
    const abort = new AbortController();
    const run = { signal: abort.signal, onProgress: () => abort.abort() };
    await errorOf(vanillaTrain(options({ out, maxSteps: 6 }), run));
    const file = join(out, 'training_state.safetensors');
    const { metadata } = await readHeader(file);
    for (const position of [
      '{"step":"abc"}',
      'null',
      '{"step":-1,"epoch":0,"position":0,"tokens":0,"seconds":0}',
    ]) {
      await writeSafetensors(file, new Map(), { ...metadata, position });
      const resumed = vanillaTrain(options({ out, maxSteps: 6, resume: true }));
      expect(await errorOf(resumed)).include({ code: 'BAD_STATE' });
    }
  });

  it('a learning rate that leaves nothing finite, and no adapter with it', async () => {
    const out = folder.file('infinite');
    const { code, message } = await errorOf(vanillaTrain(options({ out, learningRate: 1e300, maxSteps: 8 })));
    expect(code).equal('NOT_FINITE');
    expect(message).not.contain('has the adapter');
    expect(await errorOf(evaluate(options({ adapter: out })))).include({ code: 'BAD_ADAPTER' });
  });

  it('but not buffers of integers beside a head', async () => {
    const model = copy(ENCODER, 'with-head');
    const file = join(model, 'model.safetensors');
    const tensors = await readTensors(file);
    const zeros = (...shape: number[]) => ({ shape, data: new Float32Array(shape.reduce((a, b) => a * b)) });
    const hidden = tensors.get('roberta.embeddings.LayerNorm.weight')!.shape[0]!;
    const all = new Map<string, { shape: number[]; data: Float32Array | Uint8Array }>(tensors);
    all.set('classifier.dense.weight', zeros(hidden, hidden)).set('classifier.dense.bias', zeros(hidden));
    all.set('classifier.out_proj.weight', zeros(2, hidden)).set('classifier.out_proj.bias', zeros(2));
    all.set('roberta.embeddings.position_ids', { shape: [4], data: new Uint8Array(4) });
    await writeSafetensors(file, all);
    expect((await evaluate(options({ model }))).metrics).property('accuracy');
  });
});
