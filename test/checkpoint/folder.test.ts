import { execFileSync } from 'node:child_process';
import { readFileSync, renameSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { openCheckpoint } from '../../lib/checkpoint/folder.ts';
import { readTensors, writeSafetensors } from '../../lib/checkpoint/safetensors.ts';
import { Broken, TINY, form } from './broken.ts';

const INDEX = 'model.safetensors.index.json';
const QUERY = 'roberta.encoder.layer.1.attention.self.query.weight';
type Index = { weight_map: Record<string, string> };

describe('a checkpoint folder', () => {
  let broken: Broken;
  beforeEach(() => {
    broken = new Broken();
  });
  afterEach(() => broken.dispose());

  const refusal = (path = broken.folder) => broken.failure(() => openCheckpoint(path));
  const changeIndex = (change: (index: Index) => void) => {
    broken.copy(form('sharded'));
    const index = JSON.parse(readFileSync(broken.path(INDEX), 'utf8')) as Index;
    change(index);
    broken.write(INDEX, JSON.stringify(index));
  };

  it('is opened in all its forms', async () => {
    const summary = async (folder: string) => {
      const { tensors, head, ignored } = await openCheckpoint(folder);
      return [tensors.size, head.size, ignored.length, tensors.get('layers.1.query.weight')!.dtype];
    };
    expect(await summary(TINY)).to.deep.equal([37, 4, 0, 'F32']);
    expect(await summary(form('v4'))).to.deep.equal([37, 4, 0, 'F16']);
    expect(await summary(form('bf16'))).to.deep.equal([37, 4, 0, 'BF16']);
    expect(await summary(form('sharded'))).to.deep.equal([37, 4, 0, 'F16']);
    expect(await summary(form('masked-lm'))).to.deep.equal([42, 0, 0, 'F16']);
    expect(await summary(form('prefixless'))).to.deep.equal([37, 0, 3, 'F32']);
  });

  it('tells what is in it', async () => {
    const folder = form('prefixless');
    const checkpoint = await openCheckpoint(folder);
    expect(checkpoint).to.include({ folder, labels: null, problemType: null });
    expect(checkpoint.ignored).to.deep.equal([
      ...['embeddings.position_ids', 'pooler.dense.bias', 'pooler.dense.weight'],
    ]);
    const { tensors } = await openCheckpoint(TINY);
    expect([...checkpoint.tensors.keys()]).to.deep.equal([...tensors.keys()]);
    expect(tensors.get('layers.0.intermediate.weight')!.shape).to.deep.equal([64, 32]);
  });

  it('has a fingerprint that does not depend on its form', async () => {
    const print = async (folder: string) => (await openCheckpoint(folder)).fingerprint;
    const half = await print(form('sharded'));
    expect(half).to.match(/^[0-9a-f]{64}$/);
    expect(await print(form('masked-lm'))).to.equal(half);
    const tiny = await print(TINY);
    const dropouts = { hidden_dropout_prob: 0.1, attention_probs_dropout_prob: 0.1 };
    expect(await print(broken.withConfig(TINY, dropouts))).to.equal(await print(form('prefixless')));
    expect(new Set([half, tiny, await print(form('bf16')), await print(form('v4'))]).size).to.equal(4);
  });

  it('has another fingerprint when one weight differs', async () => {
    broken.copy(TINY);
    const file = broken.path('model.safetensors');
    const tensors = await readTensors(file);
    await writeSafetensors(file, tensors);
    const { fingerprint } = await openCheckpoint(TINY);
    expect((await openCheckpoint(broken.folder)).fingerprint).to.equal(fingerprint);
    tensors.get(QUERY)!.data[5]! += 1;
    await writeSafetensors(file, tensors);
    expect((await openCheckpoint(broken.folder)).fingerprint).not.to.equal(fingerprint);
  });

  it('may be made of links, as in the cache of the Hub', async () => {
    for (const name of ['config.json', 'model.safetensors']) symlinkSync(join(TINY, name), broken.path(name));
    expect((await openCheckpoint(broken.folder)).tensors.size).to.equal(37);
  });

  it('is not an id of the Hub', async () => {
    expect(await refusal('roberta-base')).to.match(
      /^NOT_A_FOLDER roberta-base: .*`hf download roberta-base --local-dir roberta-base`/,
    );
    expect(await refusal('org/name')).to.match(/`hf download org\/name --local-dir name`/);
    expect(await refusal(broken.path('x/y/z'))).to.equal('NOT_A_FOLDER x/y/z: no such folder');
    expect(await refusal(join(TINY, 'config.json'))).to.match(/^NOT_A_FOLDER .*: this is a file/);
  });

  it('needs weights', async () => {
    broken.copy(TINY);
    rmSync(broken.path('model.safetensors'));
    expect(await refusal()).to.match(
      /^BAD_CHECKPOINT \.: there is none of model\.safetensors, .*pytorch_model\.bin/,
    );
  });

  it('is not read from a pipe, which would wait', async () => {
    broken.copy(TINY);
    rmSync(broken.path('model.safetensors'));
    execFileSync('mkfifo', [broken.path('model.safetensors')]);
    expect(await refusal()).to.equal('BAD_CHECKPOINT model.safetensors: this is not a file');
  });

  it('is refused for missing and unknown weights, all in one error', async () => {
    const shift = (name: string) => name.replace('layer.1.', 'layer.2.');
    broken.withHeader(TINY, (header) => {
      for (const name of Object.keys(header).filter((name) => shift(name) !== name)) {
        header[shift(name)] = header[name]!;
        delete header[name];
      }
    });
    const told = await refusal();
    expect(told).to.match(
      /^BAD_CHECKPOINT \.: weights are missing: roberta\.encoder\.layer\.1\..* and 8 more; /,
    );
    expect(told).to.match(/; weights are unknown: roberta\.encoder\.layer\.2\..* and 8 more$/);
    expect(told.match(/layer\.1\./g)).to.have.length(8);
  });

  it('is refused for a part of a head', async () => {
    broken.withHeader(TINY, (header) => {
      header['score.weight'] = header['classifier.dense.weight']!;
      delete header['classifier.dense.weight'];
    });
    expect(await refusal()).to.equal('BAD_CHECKPOINT .: weights are missing: classifier.dense.weight');
  });

  it('is refused for shapes that are not those of its config', async () => {
    broken.withConfig(TINY, { vocab_size: 121, id2label: { 0: 'a', 1: 'b' } });
    expect(await refusal()).to.equal(
      'BAD_CHECKPOINT .: roberta.embeddings.word_embeddings.weight is [120, 32] where config.json says [121, 32], ' +
        'classifier.out_proj.weight is [3, 32] where config.json says [2, 32], ' +
        'classifier.out_proj.bias is [3] where config.json says [2]',
    );
    broken.withConfig(TINY, { id2label: null });
    expect((await openCheckpoint(broken.folder)).labels).to.equal(null);
  });

  it('is refused for weights that are integers', async () => {
    broken.withHeader(TINY, (header) => {
      header[QUERY]!.dtype = 'I32';
    });
    expect(await refusal()).to.match(/query\.weight is of I32, which is not a dtype of weights$/);
  });

  it('is refused for a weight under two names', async () => {
    broken.withHeader(form('masked-lm'), (header) => {
      header['embeddings.LayerNorm.gamma'] = header['lm_head.layer_norm.weight']!;
      delete header['lm_head.layer_norm.weight'];
    });
    expect(await refusal()).to.match(
      /LayerNorm\.weight and embeddings\.LayerNorm\.gamma are the same weight$/,
    );
  });

  it('is refused for shards outside of it', async () => {
    for (const shard of ['../model.safetensors', '/model.safetensors', 'a\\b', '..', '']) {
      changeIndex((index) => (index.weight_map[QUERY] = shard));
      expect(await refusal()).to.match(
        /^BAD_CHECKPOINT model\.safetensors\.index\.json: the shard ".*" is not the name of a file/,
      );
    }
  });

  it('is refused for shards that are missing or not what the index says', async () => {
    changeIndex((index) => (index.weight_map[QUERY] = 'model-00001-of-00002.safetensors'));
    expect(await refusal()).to.equal(
      `BAD_CHECKPOINT ${INDEX}: ${QUERY} is not in model-00001-of-00002.safetensors`,
    );
    changeIndex((index) => (index.weight_map['x'] = 'model-00003.safetensors'));
    expect(await refusal()).to.equal('BAD_CHECKPOINT model-00003.safetensors: no such file');
    renameSync(broken.path('model-00001-of-00002.safetensors'), broken.path('model-00003.safetensors'));
    broken.copy(form('sharded'));
    changeIndex((index) => (index.weight_map['x'] = 'model-00003.safetensors'));
    expect(await refusal()).to.match(/^BAD_CHECKPOINT model-00003\.safetensors: .* is also in model-00001/);
    for (const text of ['{', '{}', '{"weight_map":{"a":1}}']) {
      broken.write(INDEX, text);
      expect(await refusal()).to.match(/^BAD_CHECKPOINT model\.safetensors\.index\.json: /);
    }
  });
});
