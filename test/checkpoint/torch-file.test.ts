import { readFileSync, rmSync } from 'node:fs';
import { expect } from 'chai';
import { openCheckpoint } from '../../lib/checkpoint/folder.ts';
import { readTensors } from '../../lib/checkpoint/safetensors.ts';
import { readTorchFile } from '../../lib/checkpoint/torch-file.ts';
import { headOf } from '../../lib/head-tensors.ts';
import { Broken, form } from './broken.ts';

interface Entry {
  name: string;
  content: Buffer;
  /** 0: stored. */
  method?: number;
  /** What the directory says; the content's length where nothing is given. */
  size?: number;
}

/** A zip archive; nothing here looks at checksums. */
function zipOf(entries: Entry[]): Buffer {
  const pieces: Buffer[] = [];
  const directory: Buffer[] = [];
  let at = 0;
  for (const { name, content, method = 0, size = content.length } of entries) {
    const text = Buffer.from(name);
    const fields = Buffer.alloc(26);
    fields.writeUInt16LE(20, 0);
    fields.writeUInt16LE(method, 4);
    fields.writeUInt32LE(content.length, 14);
    fields.writeUInt32LE(size, 18);
    fields.writeUInt16LE(text.length, 22);
    const rest = Buffer.alloc(14);
    rest.writeUInt32LE(at, 10);
    pieces.push(Buffer.from('PK\x03\x04'), fields, text, content);
    directory.push(Buffer.from('PK\x01\x02\x14\x00', 'latin1'), fields, rest, text);
    at += 30 + text.length + content.length;
  }
  const central = Buffer.concat(directory);
  const end = Buffer.alloc(18);
  end.writeUInt16LE(entries.length, 4);
  end.writeUInt16LE(entries.length, 6);
  end.writeUInt32LE(central.length, 8);
  end.writeUInt32LE(at, 12);
  return Buffer.concat([...pieces, central, Buffer.from('PK\x05\x06'), end]);
}

const unicode = (text: string): Buffer => {
  const length = Buffer.alloc(4);
  length.writeUInt32LE(Buffer.byteLength(text));
  return Buffer.concat([Buffer.from('X'), length, Buffer.from(text)]);
};
const ops = (...parts: (string | Buffer)[]): Buffer =>
  Buffer.concat(parts.map((part) => (typeof part === 'string' ? Buffer.from(part, 'latin1') : part)));

/** A state dict of one tensor of float32 values. */
const stateDict = (count: string, stride = 'K\x01', key = '0'): Buffer =>
  ops(
    '\x80\x02}',
    unicode('w'),
    'ctorch._utils\n_rebuild_tensor_v2\n((',
    ...[unicode('storage'), 'ctorch\nFloatStorage\n', unicode(key), unicode('cpu'), count, 'tQ'],
    ...['K\x00', count, '\x85', stride, '\x85', '\x89', 'N', 'tRs.'],
  );

describe('a file of torch.save', () => {
  let broken: Broken;
  beforeEach(() => {
    broken = new Broken();
  });
  afterEach(() => broken.dispose());

  it('is the checkpoint that its tensors are in safetensors, sharded or not', async () => {
    const { fingerprint, ...half } = await openCheckpoint(form('sharded'));
    for (const name of ['bin', 'bin-sharded']) {
      const checkpoint = await openCheckpoint(form(name));
      expect(checkpoint.fingerprint).to.equal(fingerprint);
      const [own, other] = [await headOf(checkpoint), await headOf({ ...half, fingerprint })];
      for (const [site, { data }] of own) expect(data).to.deep.equal(other.get(site)!.data);
    }
  });

  const refusal = (entries: Entry[] | Buffer) =>
    broken.failure(() =>
      readTorchFile(broken.write('pytorch_model.bin', Buffer.isBuffer(entries) ? entries : zipOf(entries))),
    );
  const withPickle = (pickle: Buffer, bytes = 8): Entry[] => [
    { name: 'archive/data.pkl', content: pickle },
    { name: 'archive/data/0', content: Buffer.alloc(bytes) },
  ];

  it('written by hand is read', async () => {
    const file = broken.write('x.bin', zipOf(withPickle(stateDict('K\x02'))));
    const { dtype, shape, bytes } = (await readTorchFile(file)).get('w')!;
    expect([dtype, shape, bytes]).to.deep.equal(['F32', [2], 8]);
  });

  it('that names anything but tensors is refused, and nothing runs', async () => {
    const call = ops('\x80\x02cposix\nsystem\n', unicode('touch x'), '\x85R.');
    expect(await refusal(withPickle(call))).to.match(
      /^BAD_CHECKPOINT pytorch_model\.bin: the pickle names posix\.system, .*nothing was executed$/,
    );
    const stacked = ops('\x80\x04', unicode('builtins'), unicode('eval'), '\x93.');
    expect(await refusal(withPickle(stacked))).to.match(/names builtins\.eval/);
    const wrong = ops('\x80\x02ctorch\nFloatStorage\n)R.');
    expect(await refusal(withPickle(wrong))).to.match(/calls torch\.FloatStorage with what it does not take/);
  });

  it('with another opcode is refused', async () => {
    expect(await refusal(withPickle(ops('\x80\x02(iposix\nsystem\n.')))).to.match(/has the opcode 0x69/);
    expect(await refusal(withPickle(ops('\x80\x02\x81.')))).to.match(/has the opcode 0x81/);
  });

  it('that is cut off or takes what is not there is refused', async () => {
    for (const pickle of [
      '\x80',
      '\x80\x02X\xff\xff\xff\xff',
      'cposix',
      '\x80\x02t.',
      '\x80\x02h\x07.',
      '.',
      '}R.',
    ])
      expect(await refusal(withPickle(ops(pickle))), JSON.stringify(pickle)).to.match(/^BAD_CHECKPOINT /);
    expect(await refusal(withPickle(ops('\x80\x02N.')))).to.match(/something else than a state dict/);
  });

  it('whose tensors are not within their storages is refused before anything is allocated', async () => {
    const past = /w: \[\d+\] goes past the end of its storage/;
    expect(await refusal(withPickle(stateDict('K\x03')))).to.match(past);
    expect(await refusal(withPickle(stateDict('J\xff\xff\xff\x7f')))).to.match(past);
    expect(await refusal(withPickle(stateDict('\x8a\x06\xff\xff\xff\xff\xff\x0f')))).to.match(past);
    expect(await refusal(withPickle(stateDict('K\x02', 'K\x01', '7')))).to.match(/storage 7 is not there/);
    expect(await refusal(withPickle(stateDict('K\x02', 'K\x02'), 64))).to.match(/w is not contiguous/);
  });

  it('that is compressed, and could be a bomb, is refused', async () => {
    const pickle = { name: 'archive/data.pkl', content: stateDict('K\x02') };
    const bomb = { name: 'archive/data/0', content: Buffer.alloc(64), method: 8, size: 2 ** 32 - 2 };
    expect(await refusal([pickle, bomb])).to.match(/archive\/data\/0 is compressed/);
    expect(await refusal([pickle, { ...bomb, method: 0 }])).to.match(/^BAD_CHECKPOINT /);
  });

  it('of another kind is refused', async () => {
    expect(await refusal(Buffer.from('\x80\x02\x8a\x0al\xfc', 'latin1'))).to.match(/before PyTorch 1\.6/);
    expect(await refusal(Buffer.from('garbage'))).to.match(/^BAD_CHECKPOINT .*no file of torch\.save/);
    expect(await refusal(Buffer.alloc(0))).to.match(/^BAD_CHECKPOINT /);
    expect(await refusal([{ name: 'x', content: Buffer.from('y') }])).to.match(/no data\.pkl/);
  });

  it('in shards may not lead out of the folder', async () => {
    broken.copy(form('bin-sharded'));
    const index = 'pytorch_model.bin.index.json';
    const json = readFileSync(broken.path(index), 'utf8');
    broken.write(index, json.replaceAll('pytorch_model-00001-of-00002.bin', '../weights.bin'));
    expect(await broken.failure(() => openCheckpoint(broken.folder))).to.match(
      /^BAD_CHECKPOINT .*"\.\.\/weights\.bin" is not the name of a file in this folder/,
    );
  });

  it('is not looked at beside safetensors', async () => {
    broken.copy(form('bf16'));
    broken.write('pytorch_model.bin', 'garbage');
    expect((await openCheckpoint(broken.folder)).tensors.size).to.equal(37);
    expect((await readTensors(broken.path('model.safetensors'))).size).to.equal(41);
    rmSync(broken.path('model.safetensors'));
    expect(await broken.failure(() => openCheckpoint(broken.folder))).to.match(/^BAD_CHECKPOINT /);
  });
});
