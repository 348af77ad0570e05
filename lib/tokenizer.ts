import { createHash } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Tokenizer as Library, type Encoding, type TruncationStrategy } from 'tokenizers';
import type { Texts } from './data/examples.ts';
import { utf16Offsets } from './data/code-points.ts';
import { byteLevelTokenizerJson } from './data/byte-level-tokenizer.ts';
import { badTokenizer, readText } from './data/tokenizer-files.ts';
import { wordPieceTokenizerJson } from './data/wordpiece-tokenizer.ts';
import { LightPeftError, messageOf } from './errors.ts';

/** One sequence of T tokens, special ones included. */
export interface Encoded {
  ids: Int32Array; // [T]
  typeIds: Int32Array; // [T]
  /** Whether tokens were left out to keep to the maximal length. */
  truncated: boolean;
}

/** The tokens that are put before and after a text. */
export interface Frame {
  before: number[];
  after: number[];
}

/** And where its tokens come from. */
export interface Located extends Encoded {
  /** Of which text, 0 or 1, a token is; -1: a special one, of none. */
  sequence: Int8Array; // [T]
  /** The part of that text that it stands for, in UTF-16 code units, the end excluded; 0 and 0 for a special one. */
  begins: Int32Array; // [T]
  ends: Int32Array; // [T]
}

export interface EncodeOptions {
  /** In tokens, special ones included. The longer text of a pair is shortened first, at its end. */
  maxLength: number;
}

// So many are handed over at a time: enough to keep the library's threads busy, few enough that the encodings, which
// also hold tokens and offsets, do not pile up.
const CHUNK = 500;

const load = (json: string, file: string): Library => {
  try {
    return Library.fromString(json);
  } catch (error) {
    throw new LightPeftError('BAD_TOKENIZER', `${file}: ${messageOf(error)}`, { cause: error });
  }
};

/** What is taken from one of the library's encodings. */
type Reader<T> = (encoding: Encoding, truncated: boolean, texts: Texts) => T;

const encodedOf = (encoding: Encoding, truncated: boolean): Encoded => ({
  ids: Int32Array.from(encoding.getIds()),
  typeIds: Int32Array.from(encoding.getTypeIds()),
  truncated,
});

/** The library counts code points, of the whole texts even where tokens were cut off. */
const locatedOf = (encoding: Encoding, truncated: boolean, texts: Texts): Located => {
  const sequence = Int8Array.from(encoding.getSequenceIds(), (text) => text ?? -1);
  const offsets = encoding.getOffsets();
  const units = texts.map(utf16Offsets);
  const at = (side: 0 | 1) =>
    Int32Array.from(sequence, (text, t) => (text < 0 ? 0 : units[text]![offsets[t]![side]!]!));
  return { ...encodedOf(encoding, truncated), sequence, begins: at(0), ends: at(1) };
};

/** Files of SentencePiece, which the library cannot build a tokenizer from. */
const PIECES = ['tokenizer.model', 'sentencepiece.bpe.model', 'spiece.model'];

async function missing(folder: string): Promise<never> {
  const names: string[] = await readdir(folder).catch(() => []);
  const pieces = PIECES.find((name) => names.includes(name));
  const file = join(folder, 'tokenizer.json');
  if (pieces !== undefined)
    throw badTokenizer(
      `${file} is missing, and it cannot be made from ${pieces}, a SentencePiece model; in Python, with the packages ` +
        'transformers, sentencepiece and protobuf, ' +
        `AutoTokenizer.from_pretrained('${folder}').save_pretrained('${folder}') writes it`,
    );
  throw badTokenizer(
    `${file} is missing, and vocab.json with merges.txt and vocab.txt too, from which it could be made`,
  );
}

/** Texts to token ids, exactly as in Python. */
export class Tokenizer {
  /** SHA-256 of tokenizer.json, in hexadecimal. */
  readonly fingerprint: string;
  /** Including added tokens. */
  readonly vocabSize: number;
  readonly #library: Library;
  // Truncation is a setting of the library's tokenizer, which every encoding under way would see change.
  #turn: Promise<unknown> = Promise.resolve();

  private constructor(library: Library, fingerprint: string) {
    this.#library = library;
    this.fingerprint = fingerprint;
    this.vocabSize = library.getVocabSize(true);
    // tokenizer.json may carry both. Batches are packed, so padding is never wanted.
    library.disableTruncation();
    library.disablePadding();
  }

  /**
   * The tokenizer of a checkpoint folder: its tokenizer.json, else what vocab.json and merges.txt or vocab.txt make.
   * @throws {LightPeftError} BAD_TOKENIZER
   */
  static async fromFolder(folder: string): Promise<Tokenizer> {
    const file = join(folder, 'tokenizer.json');
    const json =
      (await readText(folder, 'tokenizer.json')) ??
      (await byteLevelTokenizerJson(folder)) ??
      (await wordPieceTokenizerJson(folder)) ??
      (await missing(folder));
    const fingerprint = createHash('sha256').update(json).digest('hex');
    return new Tokenizer(load(json, file), fingerprint);
  }

  /**
   * Encodes each text or pair; the result is in the same order. Calls may overlap.
   * @throws {LightPeftError} BAD_OPTION: maxLength leaves no room beside the special tokens
   */
  encode(texts: readonly Texts[], { maxLength }: EncodeOptions): Promise<Encoded[]> {
    return this.#inTurn(() => this.#encodeAll(texts, maxLength, encodedOf));
  }

  /** As `encode` does, with an account of where each token comes from. */
  encodeLocated(texts: readonly Texts[], { maxLength }: EncodeOptions): Promise<Located[]> {
    return this.#inTurn(() => this.#encodeAll(texts, maxLength, locatedOf));
  }

  /** The token that stands for those that are to be told; undefined: there is none. */
  get maskId(): number | undefined {
    return ['<mask>', '[MASK]'].map((name) => this.#library.tokenToId(name)).find((id) => id != null);
  }

  /** What every text is put into. */
  async frame(): Promise<Frame> {
    const [bare, full] = await this.encode([[''], ['a']], { maxLength: 1024 });
    let before = 0;
    while (before < bare!.ids.length && bare!.ids[before] === full!.ids[before]) before++;
    return { before: [...bare!.ids.subarray(0, before)], after: [...bare!.ids.subarray(before)] };
  }

  /** What tokens after others read as: without those before, their first space would be lost. */
  async decodeAfter(before: readonly number[], tokens: readonly number[]): Promise<string> {
    const start = await this.#library.decode([...before], true);
    const whole = await this.#library.decode([...before, ...tokens], true);
    return whole.startsWith(start) ? whole.slice(start.length) : this.#library.decode([...tokens], true);
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(work);
    this.#turn = result.catch(() => undefined);
    return result;
  }

  async #encodeAll<T>(texts: readonly Texts[], maxLength: number, read: Reader<T>): Promise<T[]> {
    await this.#checkLength(texts, maxLength);
    const encoded: T[] = [];
    for (let start = 0; start < texts.length; start += CHUNK)
      encoded.push(...(await this.#encodeChunk(texts.slice(start, start + CHUNK), maxLength, read)));
    return encoded;
  }

  async #encodeChunk<T>(texts: readonly Texts[], maxLength: number, read: Reader<T>): Promise<T[]> {
    // What is too long is encoded twice. The library's own account of what it cut off would spare that, but there is
    // none where the tokenizer adds no special tokens, as GPT-2's.
    this.#library.disableTruncation();
    const whole = await this.#run(texts);
    const long = [...whole.keys()].filter((i) => whole[i]!.getLength() > maxLength);
    const shortened = new Map<number, Encoding>();
    if (long.length > 0) {
      this.#library.setTruncation(maxLength, { strategy: 'LongestFirst' as TruncationStrategy });
      const cut = await this.#run(long.map((i) => texts[i]!));
      long.forEach((i, k) => shortened.set(i, cut[k]!));
    }
    return whole.map((encoding, i) => read(shortened.get(i) ?? encoding, shortened.has(i), texts[i]!));
  }

  async #run(texts: readonly Texts[]): Promise<Encoding[]> {
    // encodeBatch takes no pairs, but is several times as fast.
    if (texts.every(([, pair]) => pair === undefined))
      return this.#library.encodeBatch(texts.map(([text]) => text));
    return Promise.all(texts.map(([text, pair]) => this.#library.encode(text, pair ?? null)));
  }

  async #checkLength(texts: readonly Texts[], maxLength: number): Promise<void> {
    const pairs = texts.some(([, pair]) => pair !== undefined);
    this.#library.disableTruncation();
    const bare = await this.#library.encode('', pairs ? '' : null);
    // Below this the library returns sequences of some other length, without an error.
    if (!Number.isInteger(maxLength) || maxLength <= bare.getLength())
      throw new LightPeftError(
        'BAD_OPTION',
        `a maximal length of ${maxLength} leaves no room for text: ${bare.getLength()} special tokens are needed`,
      );
  }
}
