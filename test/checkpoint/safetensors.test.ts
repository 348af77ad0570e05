import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { readHeader, readTensors, writeSafetensors } from '../../lib/checkpoint/safetensors.ts';
import { ADAPTER, Broken, TINY, form, putTogether, takeApart } from './broken.ts';

const BIAS = 'classifier.dense.bias';

describe('safetensors files', () => {
  let broken: Broken;
  beforeEach(() => {
    broken = new Broken();
  });
  afterEach(() => broken.dispose());

  const refusal = (content: Uint8Array) =>
    broken.failure(() => readHeader(broken.write('a.safetensors', content)));
  const entry = (dtype: string, shape: unknown, begin: number, end: number) => ({
    dtype,
    shape,
    data_offsets: [begin, end],
  });

  it('tell where each tensor lies', async () => {
    const file = join(TINY, 'model.safetensors');
    const { tensors, metadata } = await readHeader(file);
    expect(metadata).to.deep.equal({ format: 'pt' });
    expect(tensors.size).to.equal(41);
    const info = tensors.get(BIAS)!;
    const { header, body } = takeApart(file);
    const offset = readFileSync(file).length - body.length + header[BIAS]!.data_offsets[0]!;
    expect(info).to.deep.equal({ dtype: 'F32', shape: [32], file, offset, bytes: 128 });
  });

  it('give float32 from each dtype of weights', async () => {
    const bytes = Buffer.alloc(16 + 8 + 14 + 4);
    bytes.writeDoubleLE(0.1, 0);
    bytes.writeDoubleLE(-2, 8);
    bytes.writeFloatLE(1.5, 16);
    bytes.writeFloatLE(-0.25, 20);
    [0x3c00, 0xc000, 0x0001, 0x7bff, 0xfc00, 0x7e00, 0x8000].forEach((bits, i) =>
      bytes.writeUInt16LE(bits, 24 + 2 * i),
    );
    [0x3f80, 0xc0a0].forEach((bits, i) => bytes.writeUInt16LE(bits, 38 + 2 * i));
    const header = {
      a: entry('F64', [2], 0, 16),
      b: entry('F32', [2, 1], 16, 24),
      c: entry('F16', [7], 24, 38),
      d: entry('BF16', [2], 38, 42),
      e: entry('F32', [0, 3], 42, 42),
    };
    const tensors = await readTensors(broken.write('a.safetensors', putTogether(header, bytes)));
    const values = [...tensors.values()].map(({ data }) => [...data]);
    expect(values).to.deep.equal([
      [Math.fround(0.1), -2],
      [1.5, -0.25],
      [1, -2, 2 ** -24, 65504, -Infinity, NaN, -0],
      [1, -5],
      [],
    ]);
    expect(tensors.get('c')!.dtype).to.equal('F16');
  });

  it('agree over the forms of one checkpoint', async () => {
    const [wide, half, brain] = await Promise.all(
      [TINY, form('v4'), form('bf16')].map((folder) => readTensors(join(folder, 'model.safetensors'))),
    );
    for (const [name, { data }] of wide!)
      data.forEach((value, i) => {
        expect(half!.get(name)!.data[i]).to.be.closeTo(value, 1e-7 + Math.abs(value) * 2 ** -11);
        expect(brain!.get(name)!.data[i]).to.be.closeTo(value, 1e-7 + Math.abs(value) * 2 ** -8);
      });
  });

  it('come back as they were written', async () => {
    const tensors = await readTensors(ADAPTER);
    const file = broken.path('b.safetensors');
    await writeSafetensors(file, new Map([...tensors].reverse()), { format: 'pt' });
    expect([...(await readTensors(file))]).to.deep.equal([...tensors]);
    expect((await readHeader(file)).metadata).to.deep.equal({ format: 'pt' });
    expect(Number(readFileSync(file).readBigUInt64LE()) % 8).to.equal(0);
    expect(readdirSync(broken.folder)).to.deep.equal(['b.safetensors']);
  });

  it('are written from a part of a buffer and replace the old one', async () => {
    const data = new Float32Array([1, 2, 3, 4]).subarray(1, 3);
    const file = broken.write('b.safetensors', 'old');
    await writeSafetensors(file, new Map([['x', { shape: [2], data }]]));
    expect([...(await readTensors(file)).get('x')!.data]).to.deep.equal([2, 3]);
  });

  it('leave nothing behind where they cannot be written', async () => {
    const none = new Map<string, never>();
    expect(await broken.failure(() => writeSafetensors(broken.path('no/a'), none))).to.match(/^IO /);
    expect(await broken.failure(() => writeSafetensors(broken.folder, none))).to.match(/^IO /);
    expect(readdirSync(broken.folder)).to.deep.equal([]);
    const wrong = new Map([['x', { shape: [3], data: new Float32Array(2) }]]);
    expect(await broken.failure(() => writeSafetensors(broken.path('a'), wrong))).to.match(/^INTERNAL x: /);
  });

  it('are refused when truncated anywhere', async () => {
    const all = readFileSync(ADAPTER);
    for (const length of [0, 7, 8, 100, all.length - 40000, all.length - 1])
      expect(await refusal(all.subarray(0, length))).to.match(
        /^BAD_CHECKPOINT a\.safetensors: .*the file is truncated/,
      );
  });

  it('are refused when there is none', async () => {
    expect(await broken.failure(() => readHeader(broken.path('x')))).to.equal(
      'BAD_CHECKPOINT x: no such file',
    );
    expect(await broken.failure(() => readHeader(broken.folder))).to.equal(
      'BAD_CHECKPOINT .: this is not a file',
    );
  });

  it('are refused for a header that is too long or no JSON', async () => {
    expect(await refusal(Buffer.alloc(64, 0xff))).to.match(/a header of 18446744073709551615 bytes/);
    for (const text of ['{"a":', '[]', 'null', '\xff']) {
      const content = putTogether('', Buffer.from(text, 'latin1'));
      content.writeBigUInt64LE(BigInt(text.length));
      expect(await refusal(content)).to.match(/^BAD_CHECKPOINT a\.safetensors: the header is not JSON/);
    }
    expect(await refusal(putTogether({ __metadata__: { a: 1 } }, Buffer.alloc(0)))).to.match(/__metadata__/);
  });

  const eight = Buffer.alloc(8);
  const cases: [string, Record<string, unknown>, RegExp][] = [
    ['a size that does not fit', { x: entry('F32', [3], 0, 8) }, /x: F32 \[3\] takes 12 bytes, not 8$/],
    ['a negative length', { x: entry('F32', [-2], 0, 8) }, /x: the header's entry is malformed$/],
    ['an unknown dtype', { x: entry('constructor', [2], 0, 8) }, /x: the dtype constructor is unknown$/],
    ['offsets back to front', { x: entry('F32', [2], 8, 0) }, /x: F32 \[2\] takes 8 bytes, not -8$/],
    ['no offsets', { x: { dtype: 'F32', shape: [2] } }, /x: the header's entry is malformed$/],
    ['overlaps', { x: entry('F32', [2], 0, 8), y: entry('F32', [1], 4, 8) }, /y: its bytes overlap/],
    ['gaps', { x: entry('F32', [1], 4, 8) }, /x: 4 bytes before it belong to no tensor$/],
    ['bytes at the end', { x: entry('F32', [1], 0, 4) }, /the last 4 bytes belong to no tensor$/],
    ['offsets out of range', { x: entry('F32', [4], 0, 16) }, /x: the file is truncated/],
  ];
  for (const [what, header, message] of cases)
    it(`are refused for ${what}`, async () => {
      const told = await refusal(putTogether(header, eight));
      expect(told).to.match(/^BAD_CHECKPOINT a\.safetensors: /);
      expect(told).to.match(message);
    });

  it('give no floats from integers', async () => {
    const told = broken.failure(() => readTensors(join(form('prefixless'), 'model.safetensors')));
    expect(await told).to.match(/position_ids: I64 is not one of the dtypes of weights$/);
  });
});
