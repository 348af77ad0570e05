import { openPromise, type ZipFile } from 'yauzl';
import { LightPeftError, messageOf } from '../errors.ts';
import { ExactReader } from './exact-read.ts';
import { type Allowed, type Global, unpickle } from './pickle.ts';
import { bytesOf, type TensorInfo } from './safetensors.ts';

/** The names of tensors take some bytes each; a model of a million tensors would not need so many. */
const MOST_OF_A_PICKLE = 16 * 2 ** 20;
const MOST_ENTRIES = 1_000_000;

const STORAGES: Readonly<Record<string, string>> = {
  ...{ FloatStorage: 'F32', HalfStorage: 'F16', BFloat16Storage: 'BF16', DoubleStorage: 'F64' },
  ...{ LongStorage: 'I64', IntStorage: 'I32', ShortStorage: 'I16', CharStorage: 'I8', ByteStorage: 'U8' },
  BoolStorage: 'BOOL',
};

const DICT = 'collections.OrderedDict';
const REBUILD = 'torch._utils._rebuild_tensor_v2';
const PARAMETER = 'torch._utils._rebuild_parameter';
const GLOBALS: ReadonlySet<string> = new Set([
  ...[DICT, REBUILD, PARAMETER],
  ...Object.keys(STORAGES).map((name) => `torch.${name}`),
]);

const bad = (file: string, message: string, cause?: unknown) =>
  new LightPeftError('BAD_CHECKPOINT', `${file}: ${message}`, { cause });

/** Where an entry's bytes lie in the file. */
interface Place {
  offset: number;
  bytes: number;
}

/** What torch.save leaves of a storage. */
class Storage {
  constructor(
    readonly dtype: string,
    readonly key: string,
    readonly count: number,
  ) {}
}

class Described {
  constructor(
    readonly storage: Storage,
    readonly offset: number,
    readonly shape: number[],
    readonly stride: number[],
  ) {}
}

async function placesIn(zip: ZipFile, file: string): Promise<Map<string, Place>> {
  if (zip.entryCount > MOST_ENTRIES)
    throw bad(file, `${zip.entryCount} entries are more than a model has tensors`);
  const places = new Map<string, Place>();
  for await (const entry of zip.eachEntry()) {
    // PyTorch stores; what is compressed could unfold to any size.
    if (entry.compressionMethod !== 0 || entry.compressedSize !== entry.uncompressedSize)
      throw bad(file, `${entry.fileName} is compressed, which PyTorch's files are not`);
    const { fileDataStart: offset } = await zip.readLocalFileHeaderPromise(entry, { minimal: true });
    if (offset + entry.uncompressedSize > zip.fileSize)
      throw bad(file, `${entry.fileName} goes past the file's end`);
    if (places.has(entry.fileName)) throw bad(file, `${entry.fileName} is there twice`);
    places.set(entry.fileName, { offset, bytes: entry.uncompressedSize });
  }
  return places;
}

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;
const areCounts = (value: unknown): value is number[] => Array.isArray(value) && value.every(isCount);

const allowedIn = (file: string): Allowed => ({
  globals: GLOBALS,
  persistent: (id) => {
    const [kind, type, key, , count] = Array.isArray(id) ? (id as unknown[]) : [];
    const dtype = STORAGES[(type as Global | undefined)?.name?.replace('torch.', '') ?? ''];
    if (kind !== 'storage' || dtype === undefined || typeof key !== 'string' || !isCount(count))
      throw bad(file, 'the pickle refers to something that is no storage');
    return new Storage(dtype, key, count);
  },
  reduce: ({ name }, args) => {
    if (name === DICT && args.length === 0) return new Map();
    if (name === PARAMETER) return args[0];
    const [storage, offset, shape, stride] = args;
    if (
      name !== REBUILD ||
      !(storage instanceof Storage) ||
      !isCount(offset) ||
      !areCounts(shape) ||
      !areCounts(stride)
    )
      throw bad(file, `the pickle calls ${name} with what it does not take`);
    return new Described(storage, offset, shape, stride);
  },
});

/** Row after row, which the engine maps as it is. */
const isContiguous = ({ shape, stride }: Described): boolean => {
  let step = 1;
  for (let i = shape.length; i-- > 0;) {
    if (shape[i] !== 1 && stride[i] !== step) return false;
    step *= shape[i]!;
  }
  return stride.length === shape.length;
};

function infoOf(
  file: string,
  name: string,
  tensor: Described,
  places: ReadonlyMap<string, Place>,
  root: string,
): TensorInfo {
  const { storage, offset, shape } = tensor;
  const place = places.get(`${root}data/${storage.key}`);
  if (place === undefined) throw bad(file, `${name}: its storage ${storage.key} is not there`);
  const size = bytesOf(storage.dtype);
  const count = shape.reduce((product, length) => product * length, 1);
  if (!isContiguous(tensor)) throw bad(file, `${name} is not contiguous; save it so`);
  if (storage.count * size > place.bytes || (offset + count) * size > place.bytes)
    throw bad(file, `${name}: [${shape.join(', ')}] goes past the end of its storage`);
  return { dtype: storage.dtype, shape, file, offset: place.offset + offset * size, bytes: count * size };
}

async function tensorsIn(zip: ZipFile, file: string): Promise<Map<string, TensorInfo>> {
  const places = await placesIn(zip, file);
  const pickle = [...places.keys()].find((name) => /^[^/]*\/data\.pkl$/.test(name));
  if (pickle === undefined) throw bad(file, 'there is no data.pkl in it; this is no file of torch.save');
  const { offset, bytes } = places.get(pickle)!;
  if (bytes > MOST_OF_A_PICKLE) throw bad(file, `a pickle of ${bytes} bytes is no state dict's`);
  const root = pickle.slice(0, -'data.pkl'.length);
  const order = places.get(`${root}byteorder`);
  const reader = await ExactReader.open(file);
  try {
    if (order !== undefined && order.bytes < 16) {
      const text = Buffer.from(await reader.read(order.offset, order.bytes)).toString();
      if (text !== 'little') throw bad(file, `its byte order is ${JSON.stringify(text)}, not little`);
    }
    const state = unpickle(await reader.read(offset, bytes), file, allowedIn(file));
    if (!(state instanceof Map)) throw bad(file, 'it holds something else than a state dict');
    const tensors = new Map<string, TensorInfo>();
    for (const [name, value] of state as Map<unknown, unknown>)
      if (typeof name === 'string' && value instanceof Described)
        tensors.set(name, infoOf(file, name, value, places, root));
    return tensors;
  } finally {
    await reader.close();
  }
}

/** A file as torch.save wrote it before 1.6 begins with a pickle. */
const LEGACY = 0x80;

/**
 * What a file of torch.save (1.6 or later: a zip of storages and a pickle) holds. Its pickle is read, never executed.
 * @throws {LightPeftError} BAD_CHECKPOINT: it is malformed, compressed, or has what a state dict does not need
 */
export async function readTorchFile(file: string): Promise<Map<string, TensorInfo>> {
  const reader = await ExactReader.open(file);
  const first = await reader.read(0, Math.min(1, reader.size)).finally(() => reader.close());
  if (first[0] === LEGACY)
    throw bad(file, 'this is of the format before PyTorch 1.6; load it there and torch.save it again');
  const zip = await openPromise(file, { autoClose: false, lazyEntries: true }).catch((error: unknown) => {
    throw bad(file, `this is no file of torch.save: ${messageOf(error)}`, error);
  });
  try {
    return await tensorsIn(zip, file);
  } catch (error) {
    throw error instanceof LightPeftError ? error : bad(file, messageOf(error), error);
  } finally {
    zip.close();
  }
}
