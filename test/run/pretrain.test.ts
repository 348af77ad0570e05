import { cpSync, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { LightPeftError } from '../../lib/errors.ts';
import { masked, shifted } from '../../lib/data/masking.ts';
import { Random } from '../../lib/data/random.ts';
import {
  estimate,
  evaluate,
  generate,
  type Options,
  predict,
  pretrain,
  vanillaTrain,
} from '../../lib/index.ts';
import { fixture } from '../engine/truth.ts';
import { ENCODER, errorOf, Folder, stopAt } from './bench.ts';

const COLOURS = ['red', 'green', 'blue', 'black', 'white'];
const WORDS = ['<s>', '<pad>', '</s>', '<unk>', '<mask>', 'after', 'comes', ...COLOURS];

/** Words are tokens. */
const TOKENIZER = {
  ...{ version: '1.0', truncation: null, padding: null, normalizer: null, decoder: null },
  added_tokens: [],
  pre_tokenizer: { type: 'WhitespaceSplit' },
  post_processor: null,
  model: {
    type: 'WordLevel',
    vocab: Object.fromEntries(WORDS.map((word, i) => [word, i])),
    unk_token: '<unk>',
  },
};

describe('a model trained as a whole', () => {
  const folder = new Folder();
  after(() => folder.remove());
  const whole = (changes: Partial<Options> = {}) =>
    folder.options({ peft: 'none', learningRate: 3e-4, epochs: 6, ...changes });

  it('is written as transformers has it, and tells the same when it is read again', async () => {
    const report = await vanillaTrain(whole({ out: folder.file('model'), dtype: 'float32' }));
    expect(report.peftParameters).equal(0);
    const config = JSON.parse(readFileSync(folder.file('model', 'config.json'), 'utf8')) as Record<
      string,
      unknown
    >;
    expect(config).deep.include({ architectures: ['RobertaForSequenceClassification'], dtype: 'float32' });
    const again = await evaluate(folder.options({ model: folder.file('model'), dtype: 'float32' }));
    expect(again.metrics).deep.equal(report.metrics);
    const rounded = await evaluate(folder.options({ model: folder.file('model'), threads: 2 }));
    expect(rounded.metrics['accuracy']).closeTo(report.metrics['accuracy']!, 0.1);
  });

  it('goes on after an interruption as if there had been none', async () => {
    const options = (name: string, more: Partial<Options> = {}) =>
      whole({ out: folder.file(name), maxSteps: 8, saveSteps: 4, ...more });
    await vanillaTrain(options('whole'));
    await stopAt(4, (progress) => vanillaTrain(options('parts'), progress));
    await vanillaTrain(options('parts', { resume: true }));
    expect(
      folder.bytes('parts', 'model.safetensors').equals(folder.bytes('whole', 'model.safetensors')),
    ).equal(true);
  });

  it('is not estimated, and is not written over what it came from', async () => {
    expect(await errorOf(estimate(whole({ out: folder.file('estimate') })))).include({ code: 'BAD_OPTION' });
    const copy = folder.file('copy');
    cpSync(ENCODER, copy, { recursive: true });
    const { code, message } = await errorOf(vanillaTrain(whole({ model: copy, out: copy })));
    expect([code, message]).deep.equal(['BAD_OPTION', `--out: ${copy} is the model's own folder`]);
    const adapter = await errorOf(vanillaTrain(folder.options({ out: folder.file('model') })));
    expect(adapter.message).match(/holds another kind of result \(config.json\)/);
  });
});

describe('pretraining', () => {
  const folder = new Folder();
  const [encoder, decoder] = [folder.file('encoder'), folder.file('decoder')];
  // Each colour is followed by the next.
  const text = Array.from({ length: 200 }, (_, i) =>
    Array.from({ length: 8 }, (_, k) => COLOURS[(i + k) % 5]!).join(' '),
  ).join('\n');
  before(() => {
    for (const [name, path] of [
      ['roberta-tiny', encoder],
      ['llama-tiny', decoder],
    ] as const) {
      cpSync(fixture(name, 'base'), path, { recursive: true });
      writeFileSync(join(path, 'tokenizer.json'), JSON.stringify(TOKENIZER));
      rmSync(join(path, 'model.safetensors'));
      const config = JSON.parse(readFileSync(join(path, 'config.json'), 'utf8')) as object;
      writeFileSync(join(path, 'config.json'), JSON.stringify({ ...config, initializer_range: 0.1 }));
    }
    folder.write('text.txt', text);
  });
  after(() => folder.remove());
  const options = (model: string, changes: Partial<Options> = {}): Options => ({
    ...{ model, trainFile: folder.file('text.txt'), validationFile: folder.file('text.txt') },
    ...{
      maxLength: 16,
      batchSize: 16,
      learningRate: 5e-3,
      epochs: 80,
      maskRate: 0.3,
      dtype: 'float32',
      threads: 2,
      seed: 1,
    },
    ...changes,
  });

  it('of an encoder begins with random weights and tells masked tokens', async () => {
    const report = await pretrain(options(encoder, { out: folder.file('masked') }));
    expect(report.metrics['accuracy']).above(0.95);
    const config = JSON.parse(readFileSync(folder.file('masked', 'config.json'), 'utf8')) as Record<
      string,
      unknown
    >;
    expect(config['architectures']).deep.equal(['RobertaForMaskedLM']);
    // Goes on from there, with what it knows.
    const more = await pretrain(
      options(folder.file('masked'), { out: folder.file('more'), epochs: 1, learningRate: 1e-4 }),
    );
    expect(more.metrics['accuracy']).above(0.95);
    expect(await errorOf(predict({ model: folder.file('masked'), input: folder.file('text.txt') }))).include({
      code: 'BAD_OPTION',
    });
  });

  it('is not disturbed by a second run for the same folder, which is refused', async () => {
    const out = folder.file('shared');
    const run = () => pretrain(options(encoder, { out, maxSteps: 20 })).catch((error: unknown) => error);
    const ends = await Promise.all([run(), run()]);
    const refused = ends.filter((one) => one instanceof LightPeftError);
    expect(refused.map(({ code }) => code)).deep.equal(['BAD_OPTION']);
    expect(existsSync(join(out, 'model.safetensors'))).equal(true);
  });

  it('of an encoder may begin with the next token', async () => {
    const report = await pretrain(
      options(encoder, { out: folder.file('causal'), causalShare: 1, maxSteps: 60 }),
    );
    expect(report.steps).equal(60);
    const { message } = await errorOf(
      pretrain(options(decoder, { out: folder.file('x'), causalShare: 0.5 })),
    );
    expect(message).match(/^--causal-share/);
  });

  it('of a decoder tells the next token, which it then says', async () => {
    const report = await pretrain(options(decoder, { out: folder.file('next') }));
    expect(report.metrics['perplexity']).below(1.6);
    const [said] = await generate({ model: folder.file('next'), prompt: ['red green'], maxNewTokens: 3 });
    expect(said!.text.trim().split(/\s+/)).deep.equal(['blue', 'black', 'white']);
  });

  it('goes on after an interruption as if there had been none', async () => {
    const run = (name: string, more: Partial<Options> = {}) =>
      options(encoder, { out: folder.file(name), maxSteps: 20, saveSteps: 10, ...more });
    await pretrain(run('whole'));
    await stopAt(10, (progress) => pretrain(run('parts'), progress));
    await pretrain(run('parts', { resume: true }));
    expect(
      folder.bytes('parts', 'model.safetensors').equals(folder.bytes('whole', 'model.safetensors')),
    ).equal(true);
  });

  it('writes over nothing that it has not written', async () => {
    const shape = folder.file('shape');
    cpSync(encoder, shape, { recursive: true });
    const own = await errorOf(pretrain(options(shape, { out: shape })));
    expect(own.message).match(/is the model's own folder/);
    const other = folder.file('other');
    cpSync(fixture('roberta-tiny', 'base'), other, { recursive: true });
    const lost = await errorOf(pretrain(options(encoder, { out: other, maxSteps: 1 })));
    expect(lost).include({ code: 'BAD_OPTION', message: `${other} holds a model that was not written here` });
  });

  it('refuses what it cannot learn from', async () => {
    const failure = (changes: Partial<Options>, model = encoder) =>
      errorOf(pretrain(options(model, { out: folder.file('bad'), ...changes })));
    expect(await failure({ trainFile: folder.write('empty.txt', '\n \n') })).include({ code: 'EMPTY_DATA' });
    expect(await failure({ maskRate: 0 })).include({ code: 'BAD_OPTION' });
    expect((await failure({ textColumns: ['story'] })).message).match(/there is no column "story"/);
    const headless = folder.file('headless');
    cpSync(fixture('roberta-tiny', 'base'), headless, { recursive: true });
    writeFileSync(join(headless, 'tokenizer.json'), JSON.stringify(TOKENIZER));
    expect((await failure({}, headless)).message).match(/no weights that tell masked tokens; --scratch/);
    const maskless = folder.file('maskless');
    cpSync(encoder, maskless, { recursive: true });
    const text = JSON.stringify(TOKENIZER).replaceAll('<mask>', 'mask');
    writeFileSync(join(maskless, 'tokenizer.json'), text);
    expect(await failure({}, maskless)).include({ code: 'BAD_TOKENIZER' });
  });
});

describe('masking', () => {
  const ids = Int32Array.from({ length: 20_000 }, (_, i) => 10 + (i % 7));
  ids[0] = 0;
  const example = { ids, typeIds: new Int32Array(ids.length), truncated: false, idx: 0, label: NaN };
  const masking = { rate: 0.15, mask: 4, vocab: 1000, special: new Set([0, 4]) };

  it('takes 15 % of the tokens: 80 % are masked, 10 % others, 10 % stay', () => {
    const { ids: given, tokenLabels } = masked(example, new Random(1), masking);
    const told = [...tokenLabels!.keys()].filter((t) => tokenLabels![t] !== -100);
    expect(told.length / ids.length).closeTo(0.15, 0.01);
    expect(told.every((t) => tokenLabels![t] === ids[t])).equal(true);
    expect(tokenLabels![0]).equal(-100);
    const share = (is: (t: number) => boolean) => told.filter(is).length / told.length;
    expect(share((t) => given[t] === 4)).closeTo(0.8, 0.03);
    expect(share((t) => given[t] === ids[t])).closeTo(0.1, 0.03);
    expect([...ids.keys()].every((t) => tokenLabels![t] !== -100 || given[t] === ids[t])).equal(true);
  });

  it('leaves the text itself as it was, and is the same for the same numbers', () => {
    expect(masked(example, new Random(2), masking)).deep.equal(masked(example, new Random(2), masking));
    expect([...shifted(example).tokenLabels!.slice(0, 3)]).deep.equal([...ids.slice(1, 4)]);
  });
});
