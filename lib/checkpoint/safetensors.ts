import { z } from 'zod';
import { LightPeftError, messageOf } from '../errors.ts';
import { type WholeFile, writeTogether } from '../whole-file.ts';
import { ExactReader } from './exact-read.ts';
import { TO_FLOAT32 } from './float.ts';

/** Where a tensor lies. */
export interface TensorInfo {
  dtype: string;
  shape: number[];
  file: string;
  /** From the start of the file. */
  offset: number;
  bytes: number;
}

export interface Header {
  tensors: Map<string, TensorInfo>;
  metadata: Record<string, string>;
}

const BYTES: Readonly<Record<string, number>> = {
  ...{ BOOL: 1, U8: 1, I8: 1, F8_E4M3: 1, F8_E5M2: 1, F8_E8M0: 1 },
  ...{ U16: 2, I16: 2, F16: 2, BF16: 2 },
  ...{ U32: 4, I32: 4, F32: 4 },
  ...{ U64: 8, I64: 8, F64: 8, C64: 8 },
};

/** Of one value of a dtype that is known. */
export const bytesOf = (dtype: string): number => BYTES[dtype]!;

/** The reference implementation's own limit. */
const MAX_HEADER = 100_000_000;

const METADATA = '__metadata__';
const size = z.int().nonnegative();
const ENTRY = z.object({ dtype: z.string(), shape: z.array(size), data_offsets: z.tuple([size, size]) });
const TEXTS = z.record(z.string(), z.string());

const bad = (message: string, cause?: unknown) => new LightPeftError('BAD_CHECKPOINT', message, { cause });

const countOf = (shape: readonly number[]) => shape.reduce((product, length) => product * length, 1);

/** The header as JSON, and where the tensors' bytes begin. */
async function headerOf(reader: ExactReader): Promise<{ json: Record<string, unknown>; start: number }> {
  const { file } = reader;
  if (reader.size < 8) throw bad(`${file}: the file is truncated, ${reader.size} bytes hold no header`);
  const length = new DataView((await reader.read(0, 8)).buffer).getBigUint64(0, true);
  if (length > MAX_HEADER)
    throw bad(`${file}: a header of ${length.toString()} bytes; this is no safetensors file`);
  const start = 8 + Number(length);
  if (start > reader.size)
    throw bad(`${file}: the file is truncated, its header needs ${start} bytes and it has ${reader.size}`);
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(await reader.read(8, Number(length)));
    const json: unknown = JSON.parse(text);
    if (typeof json !== 'object' || json === null || Array.isArray(json)) throw new Error('not an object');
    return { json: json as Record<string, unknown>, start };
  } catch (error) {
    if (error instanceof LightPeftError) throw error;
    throw bad(`${file}: the header is not JSON: ${messageOf(error)}`, error);
  }
}

function infoOf(file: string, name: string, entry: unknown, start: number): TensorInfo {
  const read = ENTRY.safeParse(entry);
  if (!read.success) throw bad(`${file}: ${name}: the header's entry is malformed`, read.error);
  const { dtype, shape, data_offsets } = read.data;
  const [begin, end] = data_offsets;
  if (!Object.hasOwn(BYTES, dtype)) throw bad(`${file}: ${name}: the dtype ${dtype} is unknown`);
  const needed = countOf(shape) * BYTES[dtype]!;
  if (end - begin !== needed)
    throw bad(`${file}: ${name}: ${dtype} [${shape.join(', ')}] takes ${needed} bytes, not ${end - begin}`);
  return { dtype, shape, file, offset: start + begin, bytes: needed };
}

/** The format has no gaps either, so that nothing can hide in a file. */
function checkCover(file: string, tensors: Map<string, TensorInfo>, start: number, length: number): void {
  const inOrder = [...tensors].sort(([, a], [, b]) => a.offset - b.offset || a.bytes - b.bytes);
  let end = start;
  for (const [name, { offset, bytes }] of inOrder) {
    if (offset < end) throw bad(`${file}: ${name}: its bytes overlap with another tensor's`);
    if (offset > end) throw bad(`${file}: ${name}: ${offset - end} bytes before it belong to no tensor`);
    end = offset + bytes;
    if (end > length)
      throw bad(
        `${file}: ${name}: the file is truncated, it ends at byte ${length} and the tensor at ${end}`,
      );
  }
  if (end < length) throw bad(`${file}: the last ${length - end} bytes belong to no tensor`);
}

async function readHeaderOf(reader: ExactReader): Promise<Header> {
  const { file } = reader;
  const { json, start } = await headerOf(reader);
  const { [METADATA]: about = {}, ...entries } = json;
  const metadata = TEXTS.safeParse(about);
  if (!metadata.success) throw bad(`${file}: ${METADATA} is not an object of strings`, metadata.error);
  const tensors = new Map<string, TensorInfo>();
  for (const [name, entry] of Object.entries(entries)) tensors.set(name, infoOf(file, name, entry, start));
  checkCover(file, tensors, start, reader.size);
  return { tensors, metadata: metadata.data };
}

async function reading<T>(file: string, work: (reader: ExactReader) => Promise<T>): Promise<T> {
  const reader = await ExactReader.open(file);
  try {
    return await work(reader);
  } finally {
    await reader.close();
  }
}

/**
 * What a .safetensors file holds, without reading it.
 * @throws {LightPeftError} BAD_CHECKPOINT naming the file, and the tensor where there is one
 */
export const readHeader = (file: string): Promise<Header> => reading(file, readHeaderOf);

export interface Tensor {
  /** As the file has it; `data` is float32 whatever this says. */
  dtype: string;
  shape: number[];
  data: Float32Array;
}

/**
 * All tensors of a small file, or those that are wanted.
 * @throws {LightPeftError} BAD_CHECKPOINT also where a tensor is not of floating point
 */
export const readTensors = (
  file: string,
  wanted: (name: string) => boolean = () => true,
): Promise<Map<string, Tensor>> =>
  reading(file, async (reader) => {
    const result = new Map<string, Tensor>();
    for (const [name, { dtype, shape, offset, bytes }] of (await readHeaderOf(reader)).tensors) {
      if (!wanted(name)) continue;
      const convert = TO_FLOAT32[dtype];
      if (convert === undefined) throw bad(`${file}: ${name}: ${dtype} is not one of the dtypes of weights`);
      result.set(name, { dtype, shape, data: convert(await reader.read(offset, bytes)) });
    }
    return result;
  });

/**
 * The values of tensors, wherever these lie.
 * @throws {LightPeftError} BAD_CHECKPOINT: one is not of floating point, or is cut off
 */
export async function readPlaced(places: ReadonlyMap<string, TensorInfo>): Promise<Map<string, Tensor>> {
  const result = new Map<string, Tensor>();
  for (const [name, { dtype, shape, file, offset, bytes }] of places) {
    const convert = TO_FLOAT32[dtype];
    if (convert === undefined) throw bad(`${file}: ${name}: ${dtype} is not one of the dtypes of weights`);
    const data = await reading(file, (reader) => reader.read(offset, bytes));
    result.set(name, { dtype, shape, data: convert(data) });
  }
  return result;
}

/** The bytes of all tensors of a small file, whatever their dtype. */
export const readBytes = (file: string): Promise<Map<string, Uint8Array>> =>
  reading(file, async (reader) => {
    const result = new Map<string, Uint8Array>();
    for (const [name, { offset, bytes }] of (await readHeaderOf(reader)).tensors)
      result.set(name, await reader.read(offset, bytes));
    return result;
  });

type Written = ReadonlyMap<string, { shape: readonly number[]; data: Float32Array | Uint8Array }>;

/** Tensors lie in the order of their names, so that equal tensors give equal files. */
function piecesOf(tensors: Written, metadata?: Readonly<Record<string, string>>): Uint8Array[] {
  const entries: [string, unknown][] = metadata === undefined ? [] : [[METADATA, metadata]];
  const pieces: Uint8Array[] = [];
  let end = 0;
  for (const name of [...tensors.keys()].sort()) {
    const { shape, data } = tensors.get(name)!;
    if (name === METADATA || countOf(shape) !== data.length)
      throw new LightPeftError('INTERNAL', `${name}: ${data.length} values for [${shape.join(', ')}]`);
    const dtype = data instanceof Float32Array ? 'F32' : 'U8';
    entries.push([name, { dtype, shape, data_offsets: [end, end + data.byteLength] }]);
    pieces.push(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
    end += data.byteLength;
  }
  const text = Buffer.from(JSON.stringify(Object.fromEntries(entries)));
  const header = Buffer.alloc(8 + Math.ceil(text.length / 8) * 8, ' ');
  header.writeBigUInt64LE(BigInt(header.length - 8));
  text.copy(header, 8);
  return [header, ...pieces];
}

/** A file of float32 tensors, or bytes. */
export const safetensorsFile = (
  file: string,
  tensors: Written,
  metadata?: Readonly<Record<string, string>>,
): WholeFile => ({ file, pieces: piecesOf(tensors, metadata) });

/** Writes it, whole or not at all. */
export const writeSafetensors = (...file: Parameters<typeof safetensorsFile>): Promise<void> =>
  writeTogether([safetensorsFile(...file)]);
