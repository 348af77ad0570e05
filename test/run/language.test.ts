import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { encodeCompletions, UNTOLD } from '../../lib/data/completions.ts';
import { estimate, evaluate, generate, type Options, predict, Tokenizer, train } from '../../lib/index.ts';
import { vanillaTrain } from '../../lib/index.ts';
import { fixture } from '../engine/truth.ts';
import { errorOf, Folder } from './bench.ts';

const COLOURS = ['red', 'green', 'blue', 'black', 'white'];
const WORDS = ['<s>', '<pad>', '</s>', '<unk>', 'what', 'comes', 'after', 'it', 'is', ...COLOURS];

describe('a decoder that says tokens', () => {
  const folder = new Folder();
  const [base, data] = [folder.file('decoder'), folder.file('colours.jsonl')];
  before(() => {
    cpSync(fixture('llama-tiny', 'base'), base, { recursive: true });
    const tokenizer = {
      ...{ version: '1.0', truncation: null, padding: null, added_tokens: [], normalizer: null },
      ...{ pre_tokenizer: { type: 'Whitespace' }, post_processor: null, decoder: null },
      model: {
        type: 'WordLevel',
        vocab: Object.fromEntries(WORDS.map((word, i) => [word, i])),
        unk_token: '<unk>',
      },
    };
    writeFileSync(join(base, 'tokenizer.json'), JSON.stringify(tokenizer));
    const rows = Array.from({ length: 60 }, (_, i) => ({
      question: `what comes after ${COLOURS[i % 5]!}`,
      answer: `it is ${COLOURS[(i + 1) % 5]!}`,
    }));
    writeFileSync(data, rows.map((row) => JSON.stringify(row)).join('\n'));
  });
  after(() => folder.remove());

  const options = (changes: Partial<Options>): Options => ({
    ...{
      model: base,
      trainFile: data,
      validationFile: data,
      textColumns: ['question'],
      completionColumn: 'answer',
    },
    ...{
      epochs: 40,
      batchSize: 10,
      learningRate: 1e-2,
      loraDropout: 0,
      dtype: 'float32',
      threads: 2,
      seed: 1,
    },
    ...changes,
  });

  it('is asked for what comes after the prompt alone, and for the end', async () => {
    const tokenizer = await Tokenizer.fromFolder(base);
    const [both, alone] = [
      await encodeCompletions([['what comes', 'red blue']], tokenizer, { maxLength: 16, end: 2 }),
      await encodeCompletions([['red blue']], tokenizer, { maxLength: 16, end: undefined }),
    ];
    expect([...both[0]!.ids]).to.deep.equal([4, 5, 9, 11, 2]);
    expect([...both[0]!.tokenLabels]).to.deep.equal([UNTOLD, 9, 11, 2, UNTOLD]);
    expect([...alone[0]!.ids]).to.deep.equal([9, 11]);
    expect([...alone[0]!.tokenLabels]).to.deep.equal([11, UNTOLD]);
    const [cut] = await encodeCompletions([['what comes', 'red blue']], tokenizer, { maxLength: 3, end: 2 });
    expect([...cut!.tokenLabels]).to.deep.equal([UNTOLD, 9, UNTOLD]);
  });

  it('learns them, whole and pruned, and says them', async () => {
    const untrained = await evaluate(options({}));
    expect(untrained.metrics['exact_match']).equal(0);
    const vanilla = await vanillaTrain(options({ out: folder.file('vanilla') }));
    expect(vanilla.metrics['exact_match']).equal(1);
    expect(vanilla.metrics['perplexity']).below(untrained.metrics['perplexity']! / 4);
    expect(vanilla.headParameters).equal(0);
    const written = readFileSync(folder.file('vanilla', 'adapter_config.json'), 'utf8');
    expect(JSON.parse(written)).include({ task_type: 'CAUSAL_LM', modules_to_save: null });
    await estimate(options({ maxSteps: 40, out: folder.file('estimate') }));
    const light = await train(options({ from: folder.file('estimate'), out: folder.file('light') }));
    expect(light.encoderParametersKept / light.encoderParameters).below(0.65);
    expect(light.metrics['exact_match']).equal(1);
    for (const kind of ['vanilla', 'light']) {
      const adapter = folder.file(kind);
      const of = { model: base, adapter, validationFile: data, dtype: 'float32' } as const;
      const flags = { textColumns: ['question'], completionColumn: 'answer' };
      for (const more of [{}, flags, { textColumns: ['question'] }, { completionColumn: 'answer' }])
        expect((await evaluate({ ...of, ...more })).metrics['exact_match'], kind).equal(1);
      const cut = await evaluate({ ...of, maxLength: 5 });
      expect(cut.metrics['exact_match'], kind).equal(0);
      const prompts = ['what comes after green\n', 'what comes after white\n'];
      const said = await generate({
        model: base,
        adapter,
        prompt: prompts,
        dtype: 'float32',
        maxNewTokens: 6,
      });
      expect(
        said.map(({ tokens }) => tokens.map((token) => WORDS[token])),
        kind,
      ).to.deep.equal([
        ['it', 'is', 'blue'],
        ['it', 'is', 'red'],
      ]);
      const refused = await errorOf(predict({ model: base, adapter, input: data }));
      expect(refused).include({ code: 'BAD_OPTION' });
    }
  });

  it('goes on after a prompt whatever its tokenizer ends texts with', async () => {
    const ending = folder.file('ending');
    cpSync(base, ending, { recursive: true });
    const file = join(ending, 'tokenizer.json');
    const tokenizer = JSON.parse(readFileSync(file, 'utf8')) as object;
    const text = (id: string) => ({ Sequence: { id, type_id: 0 } });
    const end = { SpecialToken: { id: '</s>', type_id: 0 } };
    const template = {
      ...{ type: 'TemplateProcessing', single: [text('A'), end], pair: [text('A'), text('B'), end] },
      special_tokens: { '</s>': { id: '</s>', ids: [2], tokens: ['</s>'] } },
    };
    writeFileSync(file, JSON.stringify({ ...tokenizer, post_processor: template }));
    const said = async (model: string) =>
      (await generate({ model, prompt: ['what comes after'], maxNewTokens: 6 }))[0]!.tokens;
    expect(await said(ending)).deep.equal(await said(base));
    expect(await said(base)).not.deep.equal([]);
  });

  it('keeps adapters that tell labels and those that say tokens apart', async () => {
    const rows = Array.from({ length: 8 }, (_, i) => ({
      question: `what is ${COLOURS[i % 5]!}`,
      label: i % 2,
    }));
    const labelled = folder.write('labelled.jsonl', rows.map((row) => JSON.stringify(row)).join('\n'));
    const { completionColumn, ...rest } = options({
      trainFile: labelled,
      validationFile: labelled,
      epochs: 1,
    });
    await vanillaTrain({ ...rest, out: folder.file('labels') });
    const adapter = folder.file('labels');
    expect(await errorOf(generate({ model: base, adapter, prompt: ['what'] }))).include({
      code: 'BAD_OPTION',
    });
    const asked = evaluate({ ...rest, completionColumn, adapter, validationFile: data });
    expect(await errorOf(asked)).include({ code: 'BAD_OPTION' });
    const other = train({ ...rest, task: 'cola', from: folder.file('estimate'), out: folder.file('y') });
    expect((await errorOf(other)).message).contain('tells tokens, and the data is for classes');
  });

  it('refuses what it cannot do', async () => {
    const code = async (changes: Partial<Options>) =>
      (await errorOf(vanillaTrain(options({ out: folder.file('x'), ...changes })))) as { code: string };
    expect(await code({ model: folder.options({}).model })).include({ code: 'BAD_OPTION' });
    expect(await code({ labelNames: ['a', 'b'] })).include({ code: 'BAD_OPTION' });
    expect(await code({ completionColumn: 'nothing' })).include({ code: 'BAD_DATA' });
    expect(await code({ maxLength: 4 })).include({ code: 'BAD_DATA' });
    expect(await code({ out: '/proc/light-peft/x' })).include({ code: 'IO' });
    const prompt = ['what '.repeat(90)];
    expect(await errorOf(generate({ model: base, prompt }))).include({ code: 'BAD_OPTION' });
    expect(await errorOf(generate({ model: base, prompt: [''] }))).include({ code: 'BAD_DATA' });
  });
});
