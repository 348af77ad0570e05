import { expect } from 'chai';
import type { AdapterInfo } from '../../lib/adapter/info.ts';
import { estimate, evaluate, type Options, predict, train, vanillaTrain } from '../../lib/index.ts';
import { errorOf, Folder } from './bench.ts';

describe('the files of a run', () => {
  const folder = new Folder();
  const options = (changes: Partial<Options> = {}) => folder.options(changes);
  after(() => folder.remove());
  // With them their files are written.
  before(() => void options());

  it("reads texts as the estimate's were read", async () => {
    const rows = String(folder.bytes('train.jsonl')).replaceAll('"sentence"', '"words"');
    const trainFile = folder.write('words.jsonl', rows);
    const read = { trainFile, validationFile: trainFile, maxSteps: 2 };
    const [from, out] = [folder.file('estimate-words'), folder.file('light-words')];
    await estimate(options({ ...read, out: from, textColumns: ['words'], maxLength: 7 }));
    await train(options({ ...read, out, from }));
    const { reads, maxLength } = JSON.parse(
      String(folder.bytes('light-words', 'light_peft.json')),
    ) as AdapterInfo;
    expect({ reads, maxLength }).deep.equal({
      reads: { textColumns: ['words'], labelNames: ['0', '1'] },
      maxLength: 7,
    });
    const other = await errorOf(train(options({ ...read, out, from, textColumns: ['sentence'] })));
    expect(other).include({ code: 'BAD_DATA' });
  });

  it('has values to predict where it is to measure values', async () => {
    const rows = Array.from({ length: 12 }, (_, i) =>
      JSON.stringify({ sentence: `s${i}`, label: 3 + (i % 3) }),
    );
    const trainFile = folder.write('stars.jsonl', rows.join('\n'));
    const read = { trainFile, validationFile: trainFile, maxSteps: 2 };
    const out = folder.file('stars');
    const refused = await errorOf(vanillaTrain(options({ ...read, out })));
    expect(refused.message).match(/stars.jsonl: integer labels must run from 0 .* or --metric pearson/);
    const { metrics } = await vanillaTrain(options({ ...read, out, metric: 'pearson' }));
    expect(Object.keys(metrics)).deep.equal(['pearson']);
    const own = options({ adapter: out });
    expect((await evaluate({ ...own, validationFile: trainFile })).metrics).deep.equal(metrics);
  });

  it('takes labels by the names that were learned, and refuses a task that has them in another order', async () => {
    const names = ['contradiction', 'entailment', 'neutral'];
    const rows = (label: (i: number) => unknown) =>
      Array.from({ length: 9 }, (_, i) => ({ premise: `p${i}`, hypothesis: `h${i}`, label: label(i % 3) }));
    const file = (name: string, label: (i: number) => unknown) =>
      folder.write(
        name,
        rows(label)
          .map((row) => JSON.stringify(row))
          .join('\n'),
      );
    const words = file('words-labels.jsonl', (i) => names[i]);
    const integers = file('integer-labels.jsonl', (i) => i);
    const [from, out] = [folder.file('estimate-names'), folder.file('light-names')];
    const read = { validationFile: words, textColumns: ['premise', 'hypothesis'], maxSteps: 2 };
    await estimate(options({ ...read, trainFile: words, out: from }));
    await train(options({ trainFile: integers, validationFile: words, maxSteps: 2, from, out }));
    const { labels } = JSON.parse(String(folder.bytes('light-names', 'light_peft.json'))) as AdapterInfo;
    expect(labels).deep.equal(names);
    const shared = evaluate(
      options({ adapter: out, validationFile: integers, labelNames: ['neutral', 'a', 'b'] }),
    );
    expect(await errorOf(shared)).include({ code: 'BAD_OPTION' });
    for (const adapter of [from, out]) {
      const { code, message } = await errorOf(
        evaluate({ ...options({ adapter, task: 'cb' }), validationFile: integers }),
      );
      expect(code).equal('BAD_OPTION');
      expect(message).match(/^--task cb: .* has learned contradiction, entailment, neutral, in this order/);
    }
  });

  it("fills a task's template without being told the task again", async () => {
    const rows = Array.from({ length: 8 }, (_, i) => ({
      ...{ word: `w${i}`, sentence1: `the w${i} is red`, sentence2: `a w${i} fell`, label: i % 2 },
    }));
    const trainFile = folder.write('wic.jsonl', rows.map((row) => JSON.stringify(row)).join('\n'));
    const adapter = folder.file('wic');
    await vanillaTrain(
      options({ trainFile, validationFile: undefined, task: 'wic', out: adapter, maxSteps: 2 }),
    );
    const told = async (more: Partial<Options>) => {
      const asked = options({ adapter, input: trainFile, ...more });
      return (await predict(asked)).map((one) => JSON.stringify(one));
    };
    expect(await told({})).deep.equal(await told({ task: 'wic' }));
    expect(await told({})).not.deep.equal(await told({ textColumns: ['sentence1', 'sentence2'] }));
  });

  const rowsOf = (row: (i: number) => Record<string, unknown>) =>
    Array.from({ length: 8 }, (_, i) => JSON.stringify(row(i))).join('\n');
  const choice = (i: number) => ({ text: `the w${i} is`, a: `red ${i}`, b: `blue ${i}`, label: i % 2 });
  const reads: [string, Partial<Options>, (i: number) => Record<string, unknown>][] = [
    [
      'a task',
      { task: 'copa' },
      (i) => ({
        premise: `p${i}`,
        question: 'cause',
        choice1: `red ${i}`,
        choice2: `blue ${i}`,
        label: i % 2,
      }),
    ],
    ['columns of choices', { textColumns: ['text'], choiceColumns: ['a', 'b'] }, choice],
    [
      'a label column and names',
      { textColumns: ['text'], labelColumn: 'kind', labelNames: ['no', 'yes'] },
      (i) => ({ text: `the w${i}`, kind: i % 2 ? 'yes' : 'no' }),
    ],
  ];
  for (const [name, given, row] of reads)
    it(`reads files as its estimate did: ${name}`, async () => {
      const trainFile = folder.write(`${name}.jsonl`, rowsOf(row));
      const [from, again, out] = ['estimate', 'again', 'light'].map((of) => folder.file(`${of} by ${name}`));
      const read = { trainFile, validationFile: trainFile, maxSteps: 2 };
      await estimate(options({ ...read, ...given, out: from }));
      await estimate(options({ ...read, from, out: again }));
      const told = await train(options({ ...read, from: again, out }));
      expect(told.metrics).deep.equal(
        (await train(options({ ...read, ...given, from: again, out }))).metrics,
      );
      expect((await evaluate(options({ adapter: out, validationFile: trainFile }))).metrics).deep.equal(
        told.metrics,
      );
    });

  it('reads files as its estimate did but for what is said, and takes no names in another order', async () => {
    const row = (i: number) => ({ text: `the w${i}`, other: `a w${i}`, kind: i % 2 ? 'yes' : 'no' });
    const file = folder.write('kinds.jsonl', rowsOf(row));
    const names = { labelNames: ['no', 'yes'] };
    const [from, out] = [folder.file('estimate-kinds'), folder.file('light-kinds')];
    const read = { trainFile: file, validationFile: file, maxSteps: 2 };
    await estimate(options({ ...read, ...names, textColumns: ['text'], labelColumn: 'kind', out: from }));
    await train(options({ ...read, ...names, from, out }));
    const asked = { adapter: out, validationFile: file };
    const { metrics } = await evaluate(options(asked));
    expect((await evaluate(options({ ...asked, textColumns: ['text'] }))).metrics).deep.equal(metrics);
    const other = evaluate(options({ ...asked, labelNames: ['yes', 'no'] }));
    expect(await errorOf(other)).include({
      code: 'BAD_OPTION',
      message: `--label-names: ${out} has learned no, yes, in this order`,
    });
  });

  it('tells all metrics of its task without being told it again', async () => {
    const file = folder.write(
      'pairs.jsonl',
      rowsOf((i) => ({ sentence1: `the w${i}`, sentence2: `a w${i % 3}`, label: i / 2 })),
    );
    const adapter = folder.file('pairs');
    const made = options({ trainFile: file, validationFile: file, task: 'stsb', out: adapter, maxSteps: 2 });
    const { metrics } = await vanillaTrain(made);
    expect(Object.keys(metrics)).deep.equal(['pearson', 'spearmanr']);
    expect((await evaluate(options({ adapter, validationFile: file }))).metrics).deep.equal(metrics);
  });
});
