import { expect } from 'chai';
import { FAMILIES } from '../../lib/checkpoint/families.ts';
import { baseShapes, headShapes } from '../../lib/checkpoint/shapes.ts';
import { openCheckpoint } from '../../lib/checkpoint/folder.ts';
import { TINY } from './broken.ts';

const roberta = FAMILIES.get('roberta')!;

describe('names of RoBERTa', () => {
  const modules = [
    ['embeddings.word', 'roberta.embeddings.word_embeddings'],
    ['embeddings.norm', 'roberta.embeddings.LayerNorm'],
    ['layers.0.query', 'roberta.encoder.layer.0.attention.self.query'],
    ['layers.11.attention.output', 'roberta.encoder.layer.11.attention.output.dense'],
    ['layers.11.attention.norm', 'roberta.encoder.layer.11.attention.output.LayerNorm'],
    ['layers.3.intermediate', 'roberta.encoder.layer.3.intermediate.dense'],
    ['layers.3.output', 'roberta.encoder.layer.3.output.dense'],
    ['layers.3.output.norm', 'roberta.encoder.layer.3.output.LayerNorm'],
    ['classifier.dense', 'classifier.dense'],
    ['classifier.out_proj', 'classifier.out_proj'],
  ] as const;

  it('of modules go both ways', () => {
    for (const [site, module] of modules) {
      expect(roberta.moduleOf(site)).to.equal(module);
      expect(roberta.siteOfModule(module)).to.equal(site);
      expect(roberta.siteOfModule(module.replace('roberta.', ''))).to.equal(site);
    }
  });

  it('that are of no module are unknown', () => {
    for (const site of ['layers.00.query', 'layers.0.attention', 'layers.0', 'constructor', 'pooler.dense'])
      expect(roberta.moduleOf(site), site).to.equal(undefined);
    for (const module of [
      'roberta.encoder.layer.0',
      'roberta.pooler.dense',
      'bert.encoder.layer.0.output.dense',
    ])
      expect(roberta.siteOfModule(module), module).to.equal(undefined);
  });

  it('of tensors go both ways for every site', async () => {
    const { spec } = await openCheckpoint(TINY);
    const encoder = baseShapes(spec);
    const head = headShapes(spec, 3);
    expect([encoder.size, head.size]).to.deep.equal([37, 4]);
    for (const [part, shapes] of [
      ['base', encoder],
      ['head', head],
    ] as const)
      for (const site of shapes.keys())
        expect(roberta.placeOf(roberta.tensorOf(site)!), site).to.deep.equal({ part, site });
    expect(roberta.tensorOf('embeddings.word.weight')).to.equal(undefined);
    expect(roberta.tensorOf('layers.0.query')).to.equal(undefined);
  });

  it('of old conversions are the same sites', () => {
    const place = (name: string) => roberta.placeOf(name);
    expect(place('encoder.layer.1.output.LayerNorm.gamma')).to.deep.equal(
      place('roberta.encoder.layer.1.output.LayerNorm.weight'),
    );
    expect(place('embeddings.LayerNorm.beta')).to.deep.equal({
      part: 'base',
      site: 'embeddings.norm.bias',
    });
    expect(place('roberta.encoder.layer.1.output.dense.gamma').part).to.equal('unknown');
  });

  it('of other heads and buffers are ignored, and of the encoder are not', () => {
    const part = (name: string) => roberta.placeOf(name).part;
    for (const name of [
      ...['roberta.embeddings.position_ids', 'embeddings.position_ids', 'roberta.embeddings.token_type_ids'],
      ...['roberta.pooler.dense.weight', 'pooler.dense.bias', 'lm_head.decoder.weight'],
      ...['qa_outputs.weight', 'classifier.weight', 'classifier.bias'],
    ])
      expect(part(name), name).to.equal('ignored');
    for (const name of [
      ...[
        'roberta.encoder.layer.0.attention.self.query.lora_A.weight',
        'roberta.x',
        'encoder.layer.0.x.weight',
      ],
      ...['embeddings.word_embeddings.bias', 'classifier.dense.scale', 'roberta.classifier.dense.weights'],
    ])
      expect(part(name), name).to.equal('unknown');
  });
});
