import { expect } from 'chai';
import { Random } from '../../lib/data/random.ts';
import { Session } from '../../lib/engine.ts';
import { beamSearch } from '../../lib/generation/beams.ts';
import { drawn } from '../../lib/generation/sampling.ts';
import { continued, greatest } from '../../lib/generation/tokens.ts';
import { PLAIN_SESSION } from '../../lib/native.ts';
import { errorOf } from '../run/bench.ts';
import { DECODERS, loadCase } from './truth.ts';

const END = 2;

for (const name of DECODERS)
  it(`${name} finds with three beams what transformers finds`, async () => {
    const { recorded, model } = await loadCase(name);
    using session = new Session(model, { ...PLAIN_SESSION, told: 'tokens' }, { threads: 2 });
    const { prompts, tokens } = recorded.truth.lm!.beams;
    const { vocab } = recorded.checkpoint.spec;
    const options = { beams: 3, lengthPenalty: 1, maxNewTokens: 12, ends: new Set([END]), vocab };
    expect(await beamSearch(session, prompts, options)).to.deep.equal(tokens);
    model.dispose();
  });

describe('generation', () => {
  const LOGITS = Float32Array.from([0, 2, 1, -1, 2.5]);
  const shares = (sampling: Parameters<typeof drawn>[1]) => {
    const random = new Random(7);
    const counts = new Float64Array(LOGITS.length);
    for (let i = 0; i < 20_000; i++) counts[drawn(LOGITS, sampling, random)]! += 1 / 20_000;
    return [...counts];
  };
  const softmax = (logits: number[]) => {
    const weights = logits.map(Math.exp);
    return weights.map((weight) => weight / weights.reduce((a, b) => a + b));
  };
  const expectNear = (found: number[], wanted: number[]) =>
    found.forEach((share, i) => expect(share).closeTo(wanted[i]!, 0.015));

  it('draws tokens as likely as they are', () => {
    expectNear(shares({ temperature: 1, topK: 0, topP: 1 }), softmax([...LOGITS]));
    expectNear(shares({ temperature: 2, topK: 0, topP: 1 }), softmax([...LOGITS].map((x) => x / 2)));
  });

  it('draws from the best alone', () => {
    const two = softmax([2, 2.5]);
    expectNear(shares({ temperature: 1, topK: 2, topP: 1 }), [0, two[0]!, 0, 0, two[1]!]);
    // 2.5 has 0.49 of it, 2 has 0.30: together past 0.7.
    expectNear(shares({ temperature: 1, topK: 0, topP: 0.7 }), [0, two[0]!, 0, 0, two[1]!]);
    for (const one of [
      { topK: 1, topP: 1 },
      { topK: 0, topP: 0.01 },
    ])
      expectNear(shares({ temperature: 1, ...one }), [0, 0, 0, 0, 1]);
  });

  it('is refused where labels are told, or nothing has begun', async () => {
    const { recorded, model } = await loadCase('llama-tiny');
    using labels = await recorded.session(model);
    using tokens = new Session(model, { ...PLAIN_SESSION, told: 'tokens' }, { threads: 2 });
    const code = async (work: Promise<unknown>) => ((await errorOf(work)) as { code?: string }).code;
    for (const work of [
      () => labels.logits(recorded.batch()),
      () => labels.begin(2),
      () => tokens.next(recorded.batch()),
      () => tokens.choose([0]),
      () => tokens.begin(0),
    ])
      expect(await code(work())).to.equal('BAD_OPTION');
    await tokens.begin(3);
    const { ids, cuSeqlens, ...rest } = recorded.batch();
    const broken = [
      { ...rest, ids, cuSeqlens: cuSeqlens.subarray(1) },
      { ...rest, ids: ids.subarray(1), cuSeqlens },
      { ...rest, ids, cuSeqlens: Int32Array.of(0, 0, ...cuSeqlens.subarray(1)) },
      { ...rest, ids: ids.subarray(0, 0), cuSeqlens: Int32Array.of(0), typeIds: new Int32Array(0) },
    ];
    for (const batch of broken) {
      expect(await code(tokens.next(batch))).to.equal('BAD_DATA');
      expect(await code(tokens.logits(batch))).to.equal('BAD_DATA');
      expect(await code(labels.evaluate(batch))).to.equal('BAD_DATA');
    }
    // Of four sequences where three were begun; after that all have to begin again.
    expect(await code(tokens.next(recorded.batch()))).to.equal('BAD_DATA');
    expect(await code(tokens.next(recorded.batch()))).to.equal('BAD_OPTION');
    await tokens.begin(3);
    expect(await code(tokens.choose([3]))).to.equal('BAD_DATA');
    model.dispose();
  });

  it('ends each text by itself, and gives the same whatever stands beside it', async () => {
    const { recorded, model } = await loadCase('llama-tiny');
    using session = new Session(model, { ...PLAIN_SESSION, told: 'tokens' }, { threads: 2 });
    const { vocab } = recorded.checkpoint.spec;
    const { prompt, tokens } = recorded.truth.lm!.greedy[0]!;
    const limits = { maxNewTokens: 20, vocab, ends: new Set([tokens[5]!]) };
    const until = tokens.indexOf(tokens[5]!);
    const found = await continued(
      session,
      [prompt, recorded.truth.inputs[1]!.slice(0, 7), prompt],
      greatest,
      limits,
    );
    expect(found[0]).to.deep.equal(tokens.slice(0, until));
    expect(found[2]).to.deep.equal(found[0]);
    const alone = await continued(session, [recorded.truth.inputs[1]!.slice(0, 7)], greatest, limits);
    expect(found[1]).to.deep.equal(alone[0]);
    model.dispose();
  });
});
