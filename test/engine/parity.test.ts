import { expect } from 'chai';
import { headOf } from '../../lib/head-tensors.ts';
import { DECODERS, distance, ENCODERS, loadCase, rms } from './truth.ts';

const CASES = ['roberta-tiny', 'roberta-wide', ...ENCODERS, ...DECODERS];

for (const name of CASES)
  describe(`${name} in fp32 is what transformers and PEFT compute`, () => {
    it('logits and loss', async () => {
      const { recorded, model } = await loadCase(name);
      const session = await recorded.session(model);
      const { logits, loss, labelled } = await session.evaluate(recorded.batch());
      expect(distance(logits, recorded.tensors.get('f64.logits')!.data)).below(1e-5);
      expect(Math.abs(loss / labelled / recorded.truth.f64.loss - 1)).below(1e-5);
      session.dispose();
      model.dispose();
    });

    it('logits of the base alone, when every B is zero', async () => {
      const { recorded, model } = await loadCase(name);
      const session = await recorded.session(model);
      const tensors = await session.tensors();
      await session.setTensors(
        tensors
          .filter(({ name }) => name.includes('lora_B'))
          .map(({ name, data }) => ({ name, data: new Float32Array(data.length) })),
      );
      const head = await headOf(recorded.checkpoint);
      expect(head.size).equal(recorded.checkpoint.spec.head.kind === 'dense' ? 4 : 1);
      await session.setTensors([...head].map(([site, { data }]) => ({ name: site, data })));
      const { logits } = await session.evaluate(recorded.batch());
      expect(distance(logits, recorded.tensors.get('f64.base_logits')!.data)).below(1e-5);
      session.dispose();
      model.dispose();
    });

    it('the gradient of every trained tensor', async () => {
      const { recorded, model } = await loadCase(name);
      const session = await recorded.session(model);
      await session.step([recorded.batch()], 0);
      for (const { name: tensor, data } of await session.tensors('gradient'))
        if (recorded.frozen && tensor.startsWith('classifier.dense.'))
          expect(data.every((value) => value === 0)).equal(true);
        else
          expect(
            distance(data, recorded.tensors.get(`f64.grad.${recorded.outer(tensor)}`)!.data),
            tensor,
          ).below(1e-4);
      session.dispose();
      model.dispose();
    });

    it('ten training steps', async () => {
      const { recorded, model } = await loadCase(name);
      const session = await recorded.session(model);
      const { losses, grad_norms, lrs, after_loss } = recorded.truth.f64.steps;
      for (const [i, lr] of lrs.entries()) {
        await session.step([recorded.batch()], lr);
        const metrics = await session.metrics();
        expect(Math.abs(metrics.loss - losses[i]!), `loss ${i}`).below(1e-4 * Math.max(losses[i]!, 1e-3));
        expect(Math.abs(metrics.gradNorm / grad_norms[i]! - 1), `norm ${i}`).below(1e-3);
      }
      const { loss, labelled } = await session.evaluate(recorded.batch());
      expect(Math.abs(loss / labelled - after_loss)).below(1e-4 * Math.max(after_loss, 1e-3));
      session.dispose();
      model.dispose();
    });
  });

for (const name of ['roberta-tiny', 'roberta-wide'])
  describe(`${name} in bf16`, () => {
    it("is at most 1.25 times as far from float64 as PyTorch's own", async () => {
      const { recorded, model } = await loadCase(name, 'bfloat16');
      const session = await recorded.session(model);
      const { logits } = await session.evaluate(recorded.batch(recorded.truth.bf16!.inputs, []));
      const exact = recorded.tensors.get('bf16.f64.logits')!.data;
      expect(rms(logits, exact)).below(1.25 * rms(recorded.tensors.get('bf16.logits')!.data, exact));
      session.dispose();
      model.dispose();
    });
  });
