import { mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { cutAdapter } from '../../lib/adapter/cut.ts';
import { kindOfAdapter } from '../../lib/adapter/files.ts';
import { readLightAdapter, writeLightAdapter } from '../../lib/adapter/light.ts';
import { HEADS, INFO, PLAN, Scratch, siteOf, whole } from './samples.ts';

describe('light adapters', () => {
  let scratch: Scratch;
  beforeEach(() => {
    scratch = new Scratch();
  });
  afterEach(() => scratch.dispose());

  const cut = cutAdapter(whole(), PLAN, HEADS, siteOf);
  const vector = (...values: number[]) => ({ shape: [values.length], data: Float32Array.from(values) });
  const DELTA = new Map([
    ['layers.0.head_scale', vector(1, 0.5)],
    ['layers.0.neuron_scale', vector(2, 3)],
    ['layers.0.output.bias_shift', vector(1, 2, 3, 4, 5, 6)],
  ]);
  const FILES = ['light_adapter.safetensors', 'light_peft.json', 'plan.json'];

  it('are read as they were written', async () => {
    await writeLightAdapter(scratch.folder, cut, PLAN, INFO, DELTA);
    const { info, plan, tensors, delta } = await readLightAdapter(scratch.folder);
    expect({ info, plan }).to.deep.equal({ info: INFO, plan: PLAN });
    expect(tensors.size).to.equal(cut.length);
    for (const { name, shape, data } of cut) expect(tensors.get(name)).to.deep.include({ shape, data });
    expect(delta!.size).to.equal(DELTA.size);
    for (const [name, tensor] of DELTA) expect(delta!.get(name)).to.deep.include(tensor);
    expect(kindOfAdapter(scratch.folder)).to.equal('light');
  });

  it("do not keep an earlier adapter's changes of the base", async () => {
    await writeLightAdapter(scratch.folder, cut, PLAN, INFO, DELTA);
    await writeLightAdapter(scratch.folder, cut, PLAN, { ...INFO, labels: null });
    const { info, delta } = await readLightAdapter(scratch.folder);
    expect(info.labels).to.be.null;
    expect(delta).to.be.null;
    expect(readdirSync(scratch.folder).sort()).to.deep.equal(FILES);
  });

  it('are refused where the parts do not fit', async () => {
    const failure = (tensors: typeof cut, delta: typeof DELTA) =>
      scratch.failure(() => writeLightAdapter(scratch.folder, tensors, PLAN, INFO, delta));
    expect(await failure([...whole().values()], DELTA)).to.match(
      /^BAD_ADAPTER .* of rank 3, the plan says 2$/,
    );
    expect(await failure(cut, new Map([['layers.0.head_scale', vector(1)]]))).to.equal(
      'BAD_ADAPTER base_delta.safetensors: layers.0.head_scale is [1], the plan says [2]',
    );
    expect(await failure(cut, new Map([['layers.1.head_scale', vector(1, 1)]]))).to.match(/^BAD_ADAPTER /);
    await writeLightAdapter(scratch.folder, cut, PLAN, INFO);
    const file = join(scratch.folder, 'light_peft.json');
    writeFileSync(file, readFileSync(file, 'utf8').replace('"f"', '"g"'));
    expect(await scratch.failure(() => readLightAdapter(scratch.folder))).to.match(/^BAD_PLAN plan.json: /);
  });

  it('are told from PEFT adapters and from other folders', async () => {
    const absent = () => kindOfAdapter(join(scratch.folder, 'absent'));
    expect(await scratch.failure(absent)).to.match(/^BAD_ADAPTER absent: no such folder$/);
    mkdirSync(scratch.folder, { recursive: true });
    expect(await scratch.failure(() => kindOfAdapter(scratch.folder))).to.match(/^BAD_ADAPTER .*neither/);
    await writeLightAdapter(scratch.folder, cut, PLAN, INFO);
    writeFileSync(join(scratch.folder, 'adapter_config.json'), '{}');
    expect(await scratch.failure(() => kindOfAdapter(scratch.folder))).to.match(/^BAD_ADAPTER .*both/);
  });
});
