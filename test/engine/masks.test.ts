import { expect } from 'chai';
import { readTensors, type Tensor } from '../../lib/checkpoint/safetensors.ts';
import type { Model } from '../../lib/engine.ts';
import { type Case, distance, fixture, loadCase, readJson } from './truth.ts';

interface MaskTruth {
  inputs: number[][];
  labels: number[];
  loss: number;
  unmasked_loss: number;
  module_importance: Record<string, number>;
  rank_importance: Record<string, number[]>;
}

describe('masks and scores are what the written-out forward computes', () => {
  const truth = readJson<MaskTruth>('masks', 'truth.json');
  let tensors: Map<string, Tensor>;
  let recorded: Case;
  let model: Model;

  before(async () => {
    tensors = await readTensors(fixture('masks', 'truth.safetensors'));
    ({ recorded, model } = await loadCase('roberta-tiny'));
  });

  after(() => model.dispose());

  /** Row `layer` of a recorded [layers, n] tensor. */
  const row = (name: string, layer: number): Float32Array => {
    const { shape, data } = tensors.get(name)!;
    return data.subarray(layer * shape[1]!, (layer + 1) * shape[1]!);
  };

  const maskedSession = async () => {
    const session = await recorded.session(model, { masks: true });
    const { layers } = recorded.checkpoint.spec;
    await session.setTensors(
      Array.from({ length: layers }, (_, layer) => [
        { name: `masks.${layer}.heads`, data: row('head_mask', layer).slice() },
        { name: `masks.${layer}.neurons`, data: row('neuron_mask', layer).slice() },
      ]).flat(),
    );
    return session;
  };

  it('logits and loss', async () => {
    using session = await maskedSession();
    const { logits, loss, labelled } = await session.evaluate(recorded.batch(truth.inputs, truth.labels));
    expect(distance(logits, tensors.get('logits')!.data)).below(1e-5);
    expect(Math.abs(loss / labelled / truth.loss - 1)).below(1e-5);
  });

  it('the gradient of every mask and every trained tensor', async () => {
    using session = await maskedSession();
    await session.step([recorded.batch(truth.inputs, truth.labels)], 0);
    const gradients = await session.tensors({ gradients: true });
    expect(gradients.filter(({ name }) => name.startsWith('masks.'))).lengthOf(
      2 * recorded.checkpoint.spec.layers,
    );
    const expected = (name: string): Float32Array => {
      const mask = /^masks\.(\d+)\.(head|neuron)s$/.exec(name);
      return mask ? row(`grad.${mask[2]}_mask`, Number(mask[1])) : tensors.get(`grad.${name}`)!.data;
    };
    for (const { name, data } of gradients) expect(distance(data, expected(name)), name).below(1e-4);
    expect(gradients).lengthOf(
      [...tensors.keys()].filter((name) => name.startsWith('grad.') && !name.endsWith('_mask')).length +
        2 * recorded.checkpoint.spec.layers,
    );
  });

  it('scores of modules and ranks, as the mean over the scored steps', async () => {
    using session = await recorded.session(model, { masks: true });
    const batch = recorded.batch(truth.inputs, truth.labels);
    await session.step([batch], 0, true);
    await session.step([batch], 0);
    await session.step([batch], 0, true);
    expect((await session.metrics()).loss / 3 / truth.unmasked_loss - 1).within(-1e-5, 1e-5);
    const { steps, measures, heads, neurons } = await session.scores();
    expect(steps).equal(2);
    for (const mask of [...heads, ...neurons]) expect([...mask].every((value) => value === 1)).equal(true);
    const modules = recorded.modules(model);
    expect(modules).lengthOf(Object.keys(truth.module_importance).length);
    for (const [i, { name }] of modules.entries()) {
      expect(Math.abs(measures.ratios[i]![0]! / truth.module_importance[name]! - 1), name).below(1e-4);
      expect(distance(measures.ranks[i]!, truth.rank_importance[name]!), name).below(1e-4);
    }
  });
});
