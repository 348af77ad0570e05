import { roberta } from '../../lib/checkpoint/bert.ts';
import { mkdtempSync, readdirSync, readFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { readPeftAdapter, writePeftAdapter } from '../../lib/adapter/peft.ts';
import { distance, loadCase, readJson } from '../engine/truth.ts';
import { FOLDER } from '../fixtures/written/write.ts';

describe('an adapter that Python has read', () => {
  it('is written the same today', async () => {
    const { info, tensors } = await readPeftAdapter(FOLDER, roberta);
    const folder = mkdtempSync(join(tmpdir(), 'light-peft-written-'));
    await writePeftAdapter(
      folder,
      [...tensors].map(([name, { shape, data }]) => ({ name, shape, data })),
      info!,
      roberta,
    );
    const files = readdirSync(FOLDER);
    expect(readdirSync(folder)).deep.equal(files);
    for (const file of files)
      expect(readFileSync(join(folder, file)).equals(readFileSync(join(FOLDER, file))), file).equal(true);
    await rm(folder, { recursive: true });
  });

  it('gives the logits here that it gave there', async () => {
    const { logits } = readJson<{ logits: number[][] }>('written', 'truth.json');
    const { recorded, model } = await loadCase('roberta-tiny');
    using session = await recorded.session(model);
    const before = (await session.evaluate(recorded.batch())).logits;
    const { tensors } = await readPeftAdapter(FOLDER, roberta);
    await session.setTensors([...tensors].map(([name, { data }]) => ({ name, data })));
    const found = (await session.evaluate(recorded.batch())).logits;
    expect(distance(found, logits.flat())).below(1e-5);
    expect(distance(before, logits.flat())).above(1e-2);
    model.dispose();
  });
});
