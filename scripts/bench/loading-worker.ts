import { openCheckpoint } from '../../lib/checkpoint/folder.ts';
import { packBatch } from '../../lib/data/batches.ts';
import { Model, Session } from '../../lib/engine.ts';
import { native, PLAIN_SESSION } from '../../lib/native.ts';
import { TOKENS } from './loading.ts';

const peakBytes = () => process.resourceUsage().maxRSS * 1024;

native();
const before = peakBytes();
const checkpoint = await openCheckpoint(process.argv[2]!);
using model = await Model.load(checkpoint, { dtype: 'bfloat16', device: process.argv[3]! });
using session = new Session(model, PLAIN_SESSION);
const ids = Int32Array.from({ length: TOKENS }, (_, i) => 4 + ((i * 7919) % 50000));
await session.evaluate(
  packBatch([{ ids, typeIds: new Int32Array(TOKENS), truncated: false, idx: 0, label: 0 }]),
);
process.stdout.write(JSON.stringify({ before, peak: peakBytes() }));
