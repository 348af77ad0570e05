import { roberta } from '../../lib/checkpoint/bert.ts';
import { cpSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { kindOfAdapter } from '../../lib/adapter/files.ts';
import { readPeftAdapter, writePeftAdapter } from '../../lib/adapter/peft.ts';
import { readConfig } from '../../lib/checkpoint/config.ts';
import { FAMILIES } from '../../lib/checkpoint/families.ts';
import { readHeader } from '../../lib/checkpoint/safetensors.ts';
import { DECODERS, ENCODERS, fixture } from '../engine/truth.ts';
import { FIXTURE, INFO, Scratch } from './samples.ts';

type Json = Record<string, unknown>;
const configIn = (folder: string) =>
  JSON.parse(readFileSync(join(folder, 'adapter_config.json'), 'utf8')) as Json;

describe('PEFT adapters', () => {
  let scratch: Scratch;
  beforeEach(() => {
    scratch = new Scratch();
  });
  afterEach(() => scratch.dispose());

  /** A copy of Python's adapter with a part of its configuration changed. */
  const changed = (change: Json) => {
    cpSync(FIXTURE, scratch.folder, { recursive: true });
    const config = { ...configIn(FIXTURE), ...change };
    writeFileSync(join(scratch.folder, 'adapter_config.json'), JSON.stringify(config));
    return scratch.folder;
  };
  const refusal = (change: Json) => scratch.failure(() => readPeftAdapter(changed(change), roberta));

  it('of every family are read, and written the way the weights lie', async () => {
    for (const name of [...ENCODERS, ...DECODERS]) {
      const { spec } = await readConfig(fixture(name, 'base', 'config.json'));
      const family = FAMILIES.get(spec.family)!;
      const { tensors } = await readPeftAdapter(fixture(name, 'adapter'), family);
      expect(
        [...tensors.keys()].some((tensor) => tensor.includes('.lora_')),
        name,
      ).to.equal(true);
      await writePeftAdapter(scratch.folder, [], INFO, family);
      expect(configIn(scratch.folder)['fan_in_fan_out'], name).to.equal(name.startsWith('gpt2'));
    }
  });

  it("of Python's PEFT are read", async () => {
    const { info, r, alpha, dropout, scale, tensors } = await readPeftAdapter(FIXTURE, roberta);
    expect({ info, r, alpha, dropout }).to.deep.equal({ info: null, r: 4, alpha: 8, dropout: 0 });
    expect(scale('roberta.encoder.layer.0.attention.self.query')).to.equal(2);
    expect(tensors.size).to.equal(28);
    expect(tensors.get('roberta.encoder.layer.1.output.dense.lora_A.weight')!.shape).to.deep.equal([4, 64]);
    expect(kindOfAdapter(FIXTURE)).to.equal('peft');
  });

  it("are written as Python's PEFT does", async () => {
    const { tensors } = await readPeftAdapter(FIXTURE, roberta);
    const named = [...tensors].map(([name, { shape, data }]) => ({ name, shape, data }));
    const mask = { name: 'masks.0.heads', shape: [4], data: new Float32Array(4) };
    await writePeftAdapter(scratch.folder, [...named, mask], INFO, roberta);

    const theirs = configIn(FIXTURE);
    for (const [key, value] of Object.entries(configIn(scratch.folder)))
      expect(value, key).to.deep.equal(theirs[key]);
    const headers = await Promise.all(
      [FIXTURE, scratch.folder].map((folder) => readHeader(join(folder, 'adapter_model.safetensors'))),
    );
    expect(headers[1]!.metadata).to.deep.equal(headers[0]!.metadata);
    expect([...headers[1]!.tensors.keys()]).to.have.members([...headers[0]!.tensors.keys()]);
    const again = await readPeftAdapter(scratch.folder, roberta);
    expect(again.info).to.deep.equal(INFO);
    expect(again.tensors).to.deep.equal(tensors);
    expect(readdirSync(scratch.folder).sort()).to.deep.equal([
      'adapter_config.json',
      'adapter_model.safetensors',
      'light_peft.json',
    ]);
  });

  it('scale by patterns, the first that fits a name from a dot on', async () => {
    const folder = changed({
      r: 8,
      rank_pattern: { 'layer.0.attention.self.query': 4, '.*': 4, query: 2 },
      alpha_pattern: { uery: 1, key: 16 },
    });
    const { scale } = await readPeftAdapter(folder, roberta);
    expect(scale('roberta.encoder.layer.0.attention.self.query')).to.equal(2);
    expect(scale('roberta.encoder.layer.1.attention.self.key')).to.equal(4);
  });

  it('scale by the root of the rank with rslora', async () => {
    expect((await readPeftAdapter(changed({ use_rslora: true }), roberta)).scale('query')).to.equal(4);
  });

  it('that are not plain LoRA are refused', async () => {
    const file = 'BAD_ADAPTER adapter_config.json';
    expect(await refusal({ peft_type: 'IA3' })).to.equal(
      `${file}: peft_type is "IA3"; only LORA can be read`,
    );
    expect(await refusal({ bias: 'all' })).to.equal(`${file}: bias is "all"; only "none" can be read`);
    for (const key of ['use_dora', 'use_qalora', 'lora_bias'])
      expect(await refusal({ [key]: true })).to.equal(`${file}: ${key} is set, which is not supported`);
    expect(await refusal({ rank_pattern: { '(': 4 } })).to.match(/^BAD_ADAPTER .*"\("/);
    expect(await refusal({ r: 0 })).to.match(/^BAD_ADAPTER adapter_config.json: r: /);
  });

  it('whose files do not fit are refused', async () => {
    expect(await refusal({ r: 2 })).to.match(/^BAD_ADAPTER .* is of rank 4, its configuration says 2$/);
    const folder = changed({});
    writeFileSync(join(folder, 'light_peft.json'), JSON.stringify({ version: 1, ...INFO }));
    expect(await scratch.failure(() => readPeftAdapter(folder, roberta))).to.match(
      /^BAD_ADAPTER light_peft.json: version: /,
    );
    writeFileSync(join(folder, 'adapter_model.safetensors'), 'x');
    expect(await scratch.failure(() => readPeftAdapter(folder, roberta))).to.match(
      /^BAD_ADAPTER .*truncated/,
    );
    expect(await scratch.failure(() => readPeftAdapter(join(folder, 'none'), roberta))).to.equal(
      'BAD_ADAPTER none/adapter_config.json: no such file',
    );
  });
});
