import { fixture } from '../engine/truth.ts';
import { join } from 'node:path';
import { expect } from 'chai';
import { encoder } from '../../lib/checkpoint/encoder-config.ts';
import type { Told } from '../../lib/checkpoint/spec.ts';
import { readConfig } from '../../lib/checkpoint/config.ts';
import { Broken, TINY, form } from './broken.ts';

describe('config.json', () => {
  let broken: Broken;
  beforeEach(() => {
    broken = new Broken();
  });
  afterEach(() => broken.dispose());

  const changedFor = (change: Record<string, unknown>, asked?: Told) =>
    readConfig(join(broken.withConfig(TINY, change), 'config.json'), asked);
  const changed = (change: Record<string, unknown>) => changedFor(change);
  const refusal = (change: Record<string, unknown>) => broken.failure(() => changed(change));

  it('gives the spec', async () => {
    const { spec, labels, problemType } = await readConfig(join(TINY, 'config.json'));
    expect(spec).to.deep.equal({
      ...{ family: 'roberta', layers: 2, hidden: 32, heads: 4, headSize: 8, ffn: 64, activation: 'gelu' },
      ...encoder(32, 4),
      ...{ normEps: 1e-5, vocab: 120, positions: 40, positionOffset: 2, typeVocab: 1, padId: 1 },
      ...{ hiddenDropout: 0, attentionDropout: 0, headDropout: 0, maxLength: 38 },
      ...{ embedding: 32, padPositions: true, attentionOutputDropout: 0, embeddingDropout: 0 },
      head: { kind: 'dense', activation: 'tanh', bias: true, dropoutFirst: true, frozen: false },
      ...{ told: 'classes', vocabularyActivation: 'gelu' },
    });
    expect(labels).to.deep.equal(['LABEL_0', 'LABEL_1', 'LABEL_2']);
    expect(problemType).to.equal(null);
  });

  it('has the head of its architecture, or the one that is asked for', async () => {
    const read = (name: string, asked?: Told) =>
      changedFor({ architectures: [name], classifier_dropout: 0.3 }, asked);
    const tags = await read('RobertaForTokenClassification');
    expect(tags.own).to.equal('tags');
    expect(tags.spec).to.deep.include({ told: 'tags', headDropout: 0.3 });
    expect((await read('RobertaForMultipleChoice')).spec).to.include({ told: 'choices', headDropout: 0 });
    const none = await read('RobertaModel');
    expect(none.own).to.equal(null);
    expect(none.spec.told).to.equal('classes');
    const other = await read('RobertaForTokenClassification', 'spans');
    expect(other.own).to.equal('tags');
    expect(other.spec).to.include({ told: 'spans', headDropout: 0 });
  });

  it('of transformers 4 is read as well', async () => {
    const v4 = await readConfig(join(form('v4'), 'config.json'));
    expect(v4.spec).to.include({ hiddenDropout: 0.1, attentionDropout: 0.1, headDropout: 0.1 });
    expect(v4.problemType).to.equal('single_label_classification');
    expect((await readConfig(join(form('prefixless'), 'config.json'))).labels).to.equal(null);
  });

  it('may have a dropout for the head, other activations and another padding', async () => {
    expect((await changed({ classifier_dropout: 0.3 })).spec.headDropout).to.equal(0.3);
    const known = { gelu_new: 'gelu_tanh', gelu_pytorch_tanh: 'gelu_tanh', relu: 'relu', swish: 'silu' };
    for (const [hidden_act, activation] of Object.entries(known))
      expect((await changed({ hidden_act })).spec.activation).to.equal(activation);
    const { spec } = await changed({ pad_token_id: 0 });
    expect(spec).to.include({ positionOffset: 1, padId: 0, maxLength: 39 });
  });

  it('of the other families says where they differ', async () => {
    const specOf = async (name: string) => (await readConfig(fixture(name, 'base', 'config.json'))).spec;
    const fromZero = { positionOffset: 0, padPositions: false, maxLength: 24 };
    expect(await specOf('bert-tiny')).to.deep.include({
      ...{ ...fromZero, family: 'bert', typeVocab: 2 },
      head: { kind: 'dense', activation: 'tanh', bias: true, dropoutFirst: false, frozen: true },
    });
    expect(await specOf('electra-tiny')).to.deep.include({
      ...{ ...fromZero, family: 'electra', embedding: 16, hidden: 24 },
      head: { kind: 'dense', activation: 'gelu', bias: true, dropoutFirst: true, frozen: false },
    });
    expect(await specOf('distilbert-odd')).to.deep.include({
      ...{ ...fromZero, family: 'distilbert', typeVocab: 0, activation: 'relu', attentionOutputDropout: 0 },
      head: { kind: 'dense', activation: 'relu', bias: true, dropoutFirst: false, frozen: false },
    });
    expect(await specOf('xlm-roberta-odd')).to.include({ family: 'xlm-roberta', positionOffset: 2 });
    expect(await specOf('camembert-odd')).to.include({ family: 'camembert', padPositions: true });
  });

  it('names classes in the order of their numbers', async () => {
    const id2label = { 2: 'c', 0: 'a', 1: 7 };
    expect((await changed({ id2label })).labels).to.deep.equal(['a', '7', 'c']);
    const numbered = await changed({ id2label: undefined, num_labels: 2 });
    expect(numbered.labels).to.deep.equal(['LABEL_0', 'LABEL_1']);
  });

  const bad: [Record<string, unknown>, RegExp][] = [
    [{ hidden_size: '32' }, /^config\.json: hidden_size: /],
    [{ hidden_size: undefined, vocab_size: -1 }, /vocab_size: .*; hidden_size: /],
    [{ num_hidden_layers: 1e9 }, /num_hidden_layers: /],
    [{ num_attention_heads: 5 }, /hidden_size 32 is not a multiple of num_attention_heads 5$/],
    [{ pad_token_id: 120 }, /pad_token_id 120 is outside the 120 tokens of vocab_size$/],
    [{ pad_token_id: null }, /pad_token_id: /],
    [{ max_position_embeddings: 2 }, /leaves no position after pad_token_id 1$/],
    [{ hidden_dropout_prob: 1.5 }, /hidden_dropout_prob: /],
    [{ id2label: { 1: 'a', 2: 'b' } }, /the keys of id2label are not 0, 1, 2/],
    [{ id2label: {} }, /the keys of id2label/],
    [{ num_labels: 2 }, /num_labels is 2 and id2label has 3$/],
    [{ problem_type: 'ranking' }, /problem_type: /],
    [{ model_type: undefined }, /model_type: /],
  ];
  for (const [change, message] of bad)
    it(`is refused for ${JSON.stringify(change)}`, async () => {
      const told = await refusal(change);
      expect(told).to.match(/^BAD_CONFIG /);
      expect(told.slice('BAD_CONFIG '.length)).to.match(message);
    });

  const unsupported: [Record<string, unknown>, RegExp][] = [
    [{ model_type: 't5' }, /model_type "t5" is not supported; supported: roberta, xlm-roberta, .*, bloom$/],
    [{ model_type: 'constructor' }, /model_type "constructor"/],
    [{ hidden_act: 'mish' }, /hidden_act "mish" \(known: gelu, .*\) is not supported$/],
    [{ position_embedding_type: 'relative_key' }, /position_embedding_type "relative_key"/],
    [{ is_decoder: true }, /is_decoder/],
    [{ add_cross_attention: true }, /add_cross_attention/],
    [{ pruned_heads: { 0: [1] } }, /pruned_heads/],
    [{ quantization_config: { bits: 4 } }, /quantization_config/],
  ];
  for (const [change, message] of unsupported)
    it(`is not supported with ${JSON.stringify(change)}`, async () => {
      const told = await refusal(change);
      expect(told).to.match(/^UNSUPPORTED_MODEL config\.json: /);
      expect(told).to.match(message);
    });

  it('is refused when it is missing or not an object', async () => {
    const file = broken.path('config.json');
    const told = () => broken.failure(() => readConfig(file));
    expect(await told()).to.equal('BAD_CONFIG config.json: no such file');
    for (const text of ['{"a"', '[]', 'null', '']) {
      broken.write('config.json', text);
      expect(await told()).to.match(/^BAD_CONFIG config\.json: /);
    }
  });
});
