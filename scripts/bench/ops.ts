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

async function check(root: string, args: number[]): Promise<unknown[]> {
  const { addon } = JSON.parse(readFileSync(join(root, 'build/current.json'), 'utf8')) as { addon: string };
  const program = join(root, dirname(addon), 'op_check');
  const { stdout } = await promisify(execFile)(program, args.map(String));
  return stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as unknown);
}

/** Each op of a layer in bf16, timed by the native check program. */
export async function opTimes(
  root: string,
  shape: ShapeName,
  batch: number,
  length: number,
): Promise<OpTime[]> {
  const { hidden, ffn, heads } = SHAPES[shape];
  return (await check(root, [batch, length, hidden, ffn, heads])) as OpTime[];
}

/** GFLOP/s of the best packed bf16 product of a shape's sizes, over so many tokens. */
export async function gemmPeak(root: string, shape: ShapeName, tokens: number): Promise<number> {
  const { hidden, ffn } = SHAPES[shape];
  const [{ flops }] = (await check(root, [tokens, hidden, ffn])) as [{ flops: number }];
  return flops / 1e9;
}
