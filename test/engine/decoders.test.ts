import { expect } from 'chai';
import { packBatch } from '../../lib/data/batches.ts';
import { Session } from '../../lib/engine.ts';
import { PLAIN_SESSION } from '../../lib/native.ts';
import { DECODERS, distance, loadCase } from './truth.ts';

/** What is told after each token that counts: in the recorded truth those of the second half of each text. */
const nextTokens = (inputs: number[][]): Int32Array =>
  Int32Array.from(
    inputs.flatMap((ids) =>
      ids.map((_, t) => (t + 1 < ids.length && t + 1 >= ids.length >> 1 ? ids[t + 1]! : -100)),
    ),
  );

const tokensOnly = (ids: number[][]) =>
  packBatch(
    ids.map((text, idx) => ({
      ids: Int32Array.from(text),
      typeIds: new Int32Array(text.length),
      truncated: false,
      idx,
      label: NaN,
    })),
  );

for (const name of DECODERS)
  describe(`${name} in fp32 tells the next token as transformers and PEFT do`, () => {
    const languageSession = async ({ recorded, model }: Awaited<ReturnType<typeof loadCase>>) => {
      const config = { ...PLAIN_SESSION, modules: recorded.modules(model), told: 'tokens' as const };
      const session = new Session(model, config, { threads: 2 });
      await session.setTensors(
        [...recorded.adapter]
          .filter(([tensor]) => tensor.includes('.lora_'))
          .map(([tensor, { data }]) => ({ name: tensor.replace('base_model.model.', ''), data })),
      );
      return session;
    };

    it('logits, loss and gradients with the adapter', async () => {
      const opened = await loadCase(name);
      const { recorded, model } = opened;
      using session = await languageSession(opened);
      const { inputs, lm } = recorded.truth;
      const batch = { ...recorded.batch(), tokenLabels: nextTokens(inputs) };
      const logits = await session.logits(batch);
      expect(distance(logits, recorded.tensors.get('lm.logits')!.data)).below(1e-5);
      const { loss, labelled } = await session.evaluate(batch);
      expect(Math.abs(loss / labelled / lm!.loss - 1)).below(1e-5);
      await session.step([batch], 0);
      for (const { name: tensor, data } of await session.tensors('gradient'))
        expect(distance(data, recorded.tensors.get(`lm.grad.${tensor}`)!.data), tensor).below(1e-4);
      model.dispose();
    });

    it('50 greedy tokens of two prompts at once', async () => {
      const { recorded, model } = await loadCase(name);
      using session = new Session(model, { ...PLAIN_SESSION, told: 'tokens' as const }, { threads: 2 });
      const wanted = recorded.truth.lm!.greedy;
      const { vocab } = recorded.checkpoint.spec;
      await session.begin(wanted.length);
      let logits = await session.next(tokensOnly(wanted.map(({ prompt }) => prompt)));
      const done = wanted.map(() => [] as number[]);
      for (let step = 0; step < wanted[0]!.tokens.length; step++) {
        const chosen = wanted.map((_, b) => {
          const row = logits.subarray(b * vocab, (b + 1) * vocab);
          return row.indexOf(Math.max(...row));
        });
        chosen.forEach((token, b) => done[b]!.push(token));
        logits = await session.next(tokensOnly(chosen.map((token) => [token])));
      }
      for (const [b, { tokens, gaps }] of wanted.entries()) {
        const close = gaps.findIndex((gap) => gap < 1e-4);
        const until = close < 0 ? tokens.length : close;
        expect(done[b]!.slice(0, until)).to.deep.equal(tokens.slice(0, until));
      }
      model.dispose();
    });
  });
