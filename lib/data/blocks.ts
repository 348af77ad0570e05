import { LightPeftError } from '../errors.ts';
import type { Frame, Tokenizer } from '../tokenizer.ts';
import type { EncodedExample } from './batches.ts';
import { Cells } from './cells.ts';
import { readRows } from './rows.ts';

/** Growing tokens: an array of numbers would take many times the memory. */
class Tokens {
  #values = new Int32Array(1 << 16);
  length = 0;

  push(ids: Int32Array): void {
    if (this.length + ids.length > this.#values.length) {
      const wider = new Int32Array(Math.max(2 * this.#values.length, this.length + ids.length));
      wider.set(this.#values.subarray(0, this.length));
      this.#values = wider;
    }
    this.#values.set(ids, this.length);
    this.length += ids.length;
  }

  slice(begin: number, end: number): Int32Array {
    return this.#values.subarray(begin, Math.min(end, this.length));
  }
}

/** Texts are handed to the tokenizer by so many, and forgotten. */
const CHUNK = 5_000;

/**
 * The texts of a file one behind the other, each with the token that ends it, cut into blocks of `maxLength` tokens with
 * the tokens that frame a text; of the rest of a block's length at the end there is a shorter one.
 * @param end between texts; undefined: nothing is
 * @throws {LightPeftError} BAD_DATA, EMPTY_DATA; BAD_OPTION: no room within the frame
 */
export async function readBlocks(
  file: string,
  column: string,
  tokenizer: Tokenizer,
  { maxLength, frame, end }: { maxLength: number; frame: Frame; end: number | undefined },
): Promise<EncodedExample[]> {
  const width = maxLength - frame.before.length - frame.after.length;
  // A single token tells nothing of another.
  if (width < 1 || maxLength < 2)
    throw new LightPeftError('BAD_OPTION', `a maximal length of ${maxLength} leaves no room for text`);
  const cells = new Cells(file);
  const all = new Tokens();
  let some: [string][] = [];
  const take = async () => {
    for (const { ids } of await tokenizer.encode(some, { maxLength: 2 ** 31 - 1 })) {
      const bare = ids.subarray(frame.before.length, ids.length - frame.after.length);
      if (bare.length === 0) continue;
      all.push(bare);
      if (end !== undefined) all.push(Int32Array.of(end));
    }
    some = [];
  };
  for await (const row of readRows(file)) {
    some.push([cells.text(row, column)]);
    if (some.length === CHUNK) await take();
  }
  await take();
  const zeros = new Int32Array(maxLength);
  const blocks: EncodedExample[] = [];
  for (let begin = 0; begin < all.length; begin += width) {
    const ids = Int32Array.from([...frame.before, ...all.slice(begin, begin + width), ...frame.after]);
    if (ids.length < 2) continue;
    blocks.push({
      ids,
      typeIds: zeros.subarray(0, ids.length),
      truncated: false,
      idx: blocks.length,
      label: NaN,
    });
  }
  if (blocks.length === 0) throw new LightPeftError('EMPTY_DATA', `${file}: there is no text in it`);
  return blocks;
}
