import { expect } from 'chai';
import { readTensors, type Tensor } from '../../lib/checkpoint/safetensors.ts';
import type { Model } from '../../lib/engine.ts';
import type { SessionConfig } from '../../lib/native.ts';
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

  const maskedSession = async (changes: Partial<SessionConfig> = {}) => {
    const session = await recorded.session(model, { masks: true, ...changes });
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
    const gradients = await session.tensors('gradient');
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

  it('first-order scores of masks that are not trained, whose gradients then move nothing', async () => {
    const batch = recorded.batch(truth.inputs, truth.labels);
    using frozen = await maskedSession({ headMaskRate: 0, neuronMaskRate: 0, ratios: false });
    await frozen.step([batch], 1e-3, { score: true });
    const { measures, heads } = await frozen.scores();
    for (const kind of ['head', 'neuron'] as const)
      for (const [l, found] of measures[`${kind}Taylor`].entries()) {
        const gradient = row(`grad.${kind}_mask`, l);
        const expected = row(`${kind}_mask`, l).map((m, i) => Math.abs(m * gradient[i]!));
        expect(distance(found, expected), `${kind}s of layer ${l}`).below(1e-4);
      }
    for (const [l, mask] of heads.entries()) expect(mask).deep.equal(row('head_mask', l));
    // Nor do they count in the norm by which gradients are clipped.
    using unscored = await maskedSession({ headMaskRate: 0, neuronMaskRate: 0 });
    await unscored.step([batch], 1e-3);
    expect((await frozen.metrics()).gradNorm).equal((await unscored.metrics()).gradNorm);
    const gradients = await frozen.tensors('gradient');
    const trained = gradients.filter(({ name }) => !name.startsWith('masks.'));
    const norm = Math.hypot(...trained.map(({ data }) => Math.hypot(...data)));
    using again = await maskedSession({ headMaskRate: 0, neuronMaskRate: 0 });
    await again.step([batch], 0);
    expect(Math.abs((await again.metrics()).gradNorm / norm - 1)).below(1e-5);
  });

  it('scores of modules and ranks, as the mean over the scored steps', async () => {
    using session = await recorded.session(model, { masks: true });
    const batch = recorded.batch(truth.inputs, truth.labels);
    await session.step([batch], 0, { score: true });
    await session.step([batch], 0);
    await session.step([batch], 0, { score: true });
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

  it('norms of weights, and the mean output of what is cut', async () => {
    const weights = await readTensors(fixture('roberta-tiny', 'base/model.safetensors'));
    const layer = (name: string) => weights.get(`roberta.encoder.layer.1.${name}.weight`)!;
    const column = ({ shape, data }: Tensor, c: number) =>
      Array.from({ length: shape[0]! }, (_, row) => data[row * shape[1]! + c]!);
    const rowOf = ({ shape, data }: Tensor, r: number) => data.subarray(r * shape[1]!, (r + 1) * shape[1]!);
    const norm = (...parts: ArrayLike<number>[]) => Math.hypot(...parts.flatMap((part) => Array.from(part)));
    const norms = await model.norms();
    const [up, down] = [layer('intermediate.dense'), layer('output.dense')];
    expect(norms.neuronOut[1]![3]).closeTo(norm(column(down, 3)), 1e-5);
    expect(norms.neurons[1]![3]).closeTo(norm(rowOf(up, 3), column(down, 3)), 1e-5);
    const { headSize, heads, ffn, layers } = recorded.checkpoint.spec;
    const dims = Array.from({ length: headSize }, (_, i) => headSize + i);
    const inputs = ['query', 'key', 'value'].map((name) => layer(`attention.self.${name}`));
    const output = layer('attention.output.dense');
    const head = norm(
      ...inputs.flatMap((weight) => dims.map((c) => rowOf(weight, c))),
      ...dims.map((c) => column(output, c)),
    );
    expect(norms.heads[1]![1]).closeTo(head, 1e-4);

    const range = (n: number) => Array.from({ length: n }, (_, i) => i);
    const cuts = range(layers).map(() => ({
      heads: range(heads).filter((i) => i !== 1),
      neurons: range(ffn).filter((i) => i !== 3 && i !== 5),
    }));
    const means = (width: number) =>
      range(layers).map(() => Float32Array.from({ length: width }, (_, i) => i + 1));
    const shifts = await model.shifts(cuts, { contextMean: means(heads * headSize), neuronMean: means(ffn) });
    const gone = (weight: Tensor, columns: number[]) =>
      range(weight.shape[0]!).map((row) =>
        columns.reduce((sum, c) => sum + rowOf(weight, row)[c]! * (c + 1), 0),
      );
    expect(distance(shifts.output[1]!, Float32Array.from(gone(down, [3, 5])))).below(1e-5);
    expect(distance(shifts.attention[1]!, Float32Array.from(gone(output, dims)))).below(1e-5);
  });
});
