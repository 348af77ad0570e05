import { join } from 'node:path';
import { generateTask } from '../../demo/task.ts';
import { openCheckpoint } from '../../lib/checkpoint/folder.ts';
import { packBatch } from '../../lib/data/batches.ts';
import { Model, Session } from '../../lib/engine.ts';
import { native, PLAIN_SESSION } from '../../lib/native.ts';
import { Tokenizer } from '../../lib/tokenizer.ts';
import { callTime, microseconds } from './probe/index.ts';

/** Tokenizing and packing. */
export async function dataTimes(root: string) {
  const tokenizer = await Tokenizer.fromFolder(join(root, 'demo/encoder'));
  const texts = generateTask({ seed: 2, train: 20_000, validation: 2 }).train.map(
    ({ sentence }) => [sentence] as [string],
  );
  await tokenizer.encode(texts.slice(0, 1000), { maxLength: 128 });
  let started = performance.now();
  const encoded = await tokenizer.encode(texts, { maxLength: 128 });
  const tokenizing = (performance.now() - started) / 1000;
  const tokens = encoded.reduce((sum, { ids }) => sum + ids.length, 0);
  const examples = encoded.map((tokens, idx) => ({ ...tokens, idx, label: 0 }));
  started = performance.now();
  for (let i = 0; i < examples.length; i += 32) packBatch(examples.slice(i, i + 32));
  const packing = (performance.now() - started) / 1000;
  return [
    { what: 'tokenizing', texts: texts.length, tokens, tokensPerSecond: Math.round(tokens / tokenizing) },
    {
      what: 'packing batches of 32',
      texts: texts.length,
      tokens,
      tokensPerSecond: Math.round(tokens / packing),
    },
  ];
}

/** The cost of a call that does nothing: answered at once by either binding, and through the lane. */
export async function boundaryTimes(root: string, device: string) {
  const checkpoint = await openCheckpoint(join(root, 'demo/encoder'));
  using model = await Model.load(checkpoint, { threads: 1, device });
  using session = new Session(model, PLAIN_SESSION, { threads: 1 });
  const calls = 20_000;
  let started = performance.now();
  for (let i = 0; i < calls; i++) native().machine();
  const direct = microseconds(started, calls);
  await session.metrics();
  started = performance.now();
  for (let i = 0; i < calls / 4; i++) await session.metrics();
  const lane = microseconds(started, calls / 4);
  return [
    { call: 'an object of four values through N-API', ...(await callTime(root, 'napi')) },
    { call: 'the same through nan', ...(await callTime(root, 'nan')) },
    { call: 'the same from the engine: machine()', microseconds: direct },
    { call: 'metrics() through N-API, the lane and a promise', microseconds: lane },
  ];
}
