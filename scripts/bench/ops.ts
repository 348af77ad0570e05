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

/** Each op of a layer in bf16, timed by the native check program. */
export async function opTimes(
  root: string,
  shape: ShapeName,
  batch: number,
  length: number,
): Promise<OpTime[]> {
  const { addon } = JSON.parse(readFileSync(join(root, 'build/current.json'), 'utf8')) as { addon: string };
  const { hidden, ffn, heads } = SHAPES[shape];
  const args = [batch, length, hidden, ffn, heads].map(String);
  const { stdout } = await promisify(execFile)(join(root, dirname(addon), 'op_check'), args);
  return stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as OpTime);
}

/** The best that any product of these shapes reached, in GFLOP/s. */
export const gemmPeakOf = (times: OpTime[]): number =>
  Math.max(
    ...times
      .filter(({ op }) => op.startsWith('linear') && !op.includes('LoRA'))
      .flatMap(({ flops, seconds, atenSeconds }) => [flops / seconds / 1e9, flops / atenSeconds / 1e9]),
  );
