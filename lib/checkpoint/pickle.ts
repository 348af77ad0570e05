import { LightPeftError } from '../errors.ts';

/** Something that a pickle names: a class or a function, which is never looked up, let alone called. */
export class Global {
  constructor(readonly name: string) {}
}

/** What a pickle leaves to whoever reads it: a storage, in PyTorch's files. */
export type Persistent = (id: unknown) => unknown;
/** What calling a global with arguments stands for. */
export type Reduce = (global: Global, args: readonly unknown[]) => unknown;

export interface Allowed {
  /** By module and name, joined with a dot. */
  globals: ReadonlySet<string>;
  persistent: Persistent;
  reduce: Reduce;
}

const MARK = Symbol('mark');

/** A tensor takes some fifty; each leaves an object at most. */
const MOST_STEPS = 5_000_000;

/**
 * Reads the part of Python's pickle format that state dicts are written in, and executes nothing: what is no number,
 * text, list, tuple or dict is described by `allowed`, and any other opcode or global is an error. A dict becomes a Map.
 */
class Unpickler {
  private readonly bytes: Buffer;
  private at = 0;
  private stack: unknown[] = [];
  private readonly memo = new Map<number, unknown>();

  constructor(
    bytes: Uint8Array,
    private readonly file: string,
    private readonly allowed: Allowed,
  ) {
    this.bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  private bad(message: string): LightPeftError {
    return new LightPeftError('BAD_CHECKPOINT', `${this.file}: ${message}`);
  }

  /** So many bytes, and past them. */
  private take(count: number): Buffer {
    if (count > this.bytes.length - this.at) throw this.bad('the pickle is truncated');
    this.at += count;
    return this.bytes.subarray(this.at - count, this.at);
  }

  private text(count: number): string {
    return this.take(count).toString('utf8');
  }

  private line(): string {
    const end = this.bytes.indexOf(10, this.at);
    if (end < 0) throw this.bad('the pickle is truncated');
    const line = this.text(end - this.at);
    this.at++;
    return line;
  }

  private pop(): unknown {
    if (this.stack.length === 0) throw this.bad('the pickle takes more than it has put down');
    return this.stack.pop();
  }

  private top(): unknown {
    if (this.stack.length === 0) throw this.bad('the pickle takes more than it has put down');
    return this.stack.at(-1);
  }

  /** All from the last mark on. */
  private marked(): unknown[] {
    const mark = this.stack.lastIndexOf(MARK);
    if (mark < 0) throw this.bad('the pickle has no mark where it needs one');
    const items = this.stack.splice(mark);
    return items.slice(1);
  }

  private tuple(count: number): void {
    const items = Array.from({ length: count }, () => this.pop()).reverse();
    this.stack.push(items);
  }

  private recall(key: number): void {
    if (!this.memo.has(key)) throw this.bad(`the pickle has nothing memoized as ${key}`);
    this.stack.push(this.memo.get(key));
  }

  private global(module: unknown, name: unknown): void {
    if (typeof module !== 'string' || typeof name !== 'string')
      throw this.bad('the pickle names what is no text');
    const whole = `${module}.${name}`;
    if (!this.allowed.globals.has(whole))
      throw this.bad(`the pickle names ${whole}, which no state dict needs; nothing was executed`);
    this.stack.push(new Global(whole));
  }

  private setItems(items: readonly unknown[]): void {
    const map = this.top();
    if (!(map instanceof Map) || items.length % 2 !== 0) throw this.bad('the pickle sets items of no dict');
    for (let i = 0; i < items.length; i += 2) map.set(items[i], items[i + 1]);
  }

  private append(items: readonly unknown[]): void {
    const list = this.top();
    if (!Array.isArray(list)) throw this.bad('the pickle appends to no list');
    list.push(...items);
  }

  private long(count: number): number {
    let value = 0n;
    const bytes = this.take(count);
    for (let i = count; i-- > 0;) value = (value << 8n) | BigInt(bytes[i]!);
    if (count > 0 && bytes[count - 1]! >= 128) value -= 1n << BigInt(8 * count);
    const number = Number(value);
    if (!Number.isSafeInteger(number)) throw this.bad('the pickle holds a number past 2^53');
    return number;
  }

  /** Does what an opcode says. */
  private step(opcode: number): void {
    const { stack } = this;
    switch (String.fromCharCode(opcode)) {
      case '\x80': // PROTO
        if (this.take(1)[0]! > 5) throw this.bad('the pickle is of a protocol past 5');
        return;
      case '\x95': // FRAME
        this.take(8);
        return;
      case '(':
        stack.push(MARK);
        return;
      case 'N':
        stack.push(null);
        return;
      case '\x88':
        stack.push(true);
        return;
      case '\x89':
        stack.push(false);
        return;
      case 'J': // BININT
        stack.push(this.take(4).readInt32LE());
        return;
      case 'K':
        stack.push(this.take(1)[0]!);
        return;
      case 'M':
        stack.push(this.take(2).readUInt16LE());
        return;
      case '\x8a': // LONG1
        stack.push(this.long(this.take(1)[0]!));
        return;
      case 'G': // BINFLOAT
        stack.push(this.take(8).readDoubleBE());
        return;
      case 'X': // BINUNICODE
        stack.push(this.text(this.take(4).readUInt32LE()));
        return;
      case '\x8c': // SHORT_BINUNICODE
        stack.push(this.text(this.take(1)[0]!));
        return;
      case ']':
      case ')':
        stack.push([]);
        return;
      case '}':
        stack.push(new Map());
        return;
      case 't':
        stack.push(this.marked());
        return;
      case '\x85':
        this.tuple(1);
        return;
      case '\x86':
        this.tuple(2);
        return;
      case '\x87':
        this.tuple(3);
        return;
      case 'a':
        this.append([this.pop()]);
        return;
      case 'e':
        this.append(this.marked());
        return;
      case 's': {
        const value = this.pop();
        this.setItems([this.pop(), value]);
        return;
      }
      case 'u':
        this.setItems(this.marked());
        return;
      case 'q': // BINPUT
        this.memo.set(this.take(1)[0]!, this.top());
        return;
      case 'r': // LONG_BINPUT
        this.memo.set(this.take(4).readUInt32LE(), this.top());
        return;
      case '\x94': // MEMOIZE
        this.memo.set(this.memo.size, this.top());
        return;
      case 'h': // BINGET
        this.recall(this.take(1)[0]!);
        return;
      case 'j': // LONG_BINGET
        this.recall(this.take(4).readUInt32LE());
        return;
      case 'c': {
        const module = this.line();
        this.global(module, this.line());
        return;
      }
      case '\x93': {
        const name = this.pop();
        this.global(this.pop(), name);
        return;
      }
      case 'Q': // BINPERSID
        stack.push(this.allowed.persistent(this.pop()));
        return;
      case 'R': {
        const args = this.pop();
        const global = this.pop();
        if (!(global instanceof Global) || !Array.isArray(args))
          throw this.bad('the pickle calls what is no global');
        stack.push(this.allowed.reduce(global, args));
        return;
      }
      case 'b': // BUILD: the attributes of an OrderedDict, of no use here
        this.pop();
        this.top();
        return;
      default:
        throw this.bad(
          `the pickle has the opcode 0x${opcode.toString(16).padStart(2, '0')}, which no state dict needs; nothing was executed`,
        );
    }
  }

  read(): unknown {
    for (let steps = 0; ; steps++) {
      if (steps === MOST_STEPS) throw this.bad('the pickle is longer than that of any state dict');
      const opcode = this.take(1)[0]!;
      if (opcode === 0x2e) return this.pop(); // STOP
      this.step(opcode);
    }
  }
}

/**
 * What a pickle holds. Nothing in it is executed.
 * @throws {LightPeftError} BAD_CHECKPOINT: it is malformed, or has what a state dict does not need
 */
export const unpickle = (bytes: Uint8Array, file: string, allowed: Allowed): unknown =>
  new Unpickler(bytes, file, allowed).read();
