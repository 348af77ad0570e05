import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { runProgram } from '../../setup/program.ts';

const require = createRequire(import.meta.url);

/** An addon with one function, which gives an object of four values. */
interface Probe {
  answer: () => unknown;
}

/** Node's own headers where its archive puts them, which nan needs. */
const nodeHeaders = join(dirname(process.execPath), '../include/node');

const HEADERS = {
  napi: () =>
    ['node-api-headers', 'node-addon-api'].map(
      (name) => (require(name) as { include_dir: string }).include_dir,
    ),
  nan: () => {
    if (!existsSync(join(nodeHeaders, 'v8.h'))) throw new Error(`no v8.h in ${nodeHeaders}`);
    return [nodeHeaders, dirname(require.resolve('nan'))];
  },
};

/** Of one of so many calls since `started`, to nanoseconds. */
export const microseconds = (started: number, calls: number): number =>
  Math.round(((performance.now() - started) * 1e6) / calls) / 1000;

/** Microseconds of one call of a probe, or why there is none. */
export async function callTime(
  root: string,
  binding: keyof typeof HEADERS,
): Promise<{ microseconds: number | null; why?: string }> {
  try {
    const folder = join(root, 'build/probe');
    const addon = join(folder, `${binding}-${process.version}.node`);
    await mkdir(folder, { recursive: true });
    const includes = HEADERS[binding]().map((path) => `-I${path}`);
    const source = join(import.meta.dirname, `${binding}.cc`);
    const flags = ['-std=c++20', '-O2', '-fPIC', '-shared', '-w'];
    const built = await runProgram('c++', [...flags, ...includes, source, '-o', addon]);
    if (!built.ok) throw new Error(`it does not build: ${built.output.trim().split('\n')[0] ?? ''}`);
    const { answer } = require(addon) as Probe;
    const calls = 200_000;
    for (let i = 0; i < calls; i++) answer();
    const started = performance.now();
    for (let i = 0; i < calls; i++) answer();
    return { microseconds: microseconds(started, calls) };
  } catch (error) {
    return { microseconds: null, why: error instanceof Error ? error.message : String(error) };
  }
}
