import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { SHAPES, type ShapeName } from './shapes.ts';

export interface OpTime {
  op: string;
  rows: number;
  in: number;
  out: number;
  seconds: number;
  atenSeconds: number;
  /** 0: what counts is the memory that it moves. */
  flops: number;
  bytes: number;
}

/** What a device does at most: a product of 8,192 cubed in bf16, and a copy within it, read and written. */
export interface Peaks {
  flops: number;
  bytesPerSecond: number;
}

/** Of an op's time, what its operations and its memory would take at the device's peaks. */
export interface OpShares {
  matrixShare: number;
  memoryShare: number;
  /** The larger of the two, as nothing but its own limit can make an op faster, and which one it is. */
  share: number;
  limit: 'matrix' | 'memory';
}

export function sharesOf({ flops, bytes, seconds }: OpTime, peaks: Peaks): OpShares {
  const matrixShare = flops / peaks.flops / seconds;
  const memoryShare = bytes / peaks.bytesPerSecond / seconds;
  const limit = matrixShare > memoryShare ? 'matrix' : 'memory';
  return { matrixShare, memoryShare, share: Math.max(matrixShare, memoryShare), limit };
}

async function check(root: string, device: string, args: (number | string)[]): Promise<unknown[]> {
  const { addon } = JSON.parse(readFileSync(join(root, 'build/current.json'), 'utf8')) as { addon: string };
  const program = join(root, dirname(addon), 'op_check');
  const where = device === 'cpu' ? [] : ['--device', device];
  const { stdout } = await promisify(execFile)(program, [...where, ...args.map(String)]);
  return stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as unknown);
}

/** Each op of a layer in bf16, timed by the native check program. */
export async function opTimes(
  root: string,
  device: string,
  shape: ShapeName,
  batch: number,
  length: number,
): Promise<OpTime[]> {
  const { hidden, ffn, heads } = SHAPES[shape];
  return (await check(root, device, [batch, length, hidden, ffn, heads])) as OpTime[];
}

/** The ops of a model, on a GPU in batches of 32 and with their shares of its peaks. */
export async function opTable(root: string, device: string, shape: ShapeName): Promise<OpTime[]> {
  if (device === 'cpu') return opTimes(root, device, shape, 8, 128);
  const peaks = await devicePeaks(root, device);
  const times = await opTimes(root, device, shape, 32, 128);
  return times.map((time) => ({ ...time, ...sharesOf(time, peaks) }));
}

/** What a GPU does at most, timed by the same program. */
export async function devicePeaks(root: string, device: string): Promise<Peaks> {
  const [peaks] = (await check(root, device, ['--peaks'])) as [Peaks];
  return peaks;
}

/** GFLOP/s of the processor's best packed bf16 product of a shape's sizes, over so many tokens. */
export async function gemmPeak(root: string, shape: ShapeName, tokens: number): Promise<number> {
  const { hidden, ffn } = SHAPES[shape];
  const [{ flops }] = (await check(root, 'cpu', [tokens, hidden, ffn])) as [{ flops: number }];
  return flops / 1e9;
}
