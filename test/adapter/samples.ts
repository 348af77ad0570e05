import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { AdapterInfo } from '../../lib/adapter/info.ts';
import { LightPeftError } from '../../lib/errors.ts';
import type { NamedTensor } from '../../lib/native.ts';
import type { Plan } from '../../lib/plan/plan.ts';

export const FIXTURE = fileURLToPath(new URL('../fixtures/roberta-tiny/adapter', import.meta.url));

export const INFO: AdapterInfo = {
  base: 'fixtures/roberta-tiny',
  fingerprint: 'f',
  tells: 'classes',
  labels: ['a', 'b', 'c'],
  reads: { textColumns: ['text'] },
  maxLength: 16,
  r: 4,
  alpha: 8,
  dropout: 0,
  targetModules: ['query', 'key', 'value', 'intermediate.dense', 'output.dense'],
};

export const LAYER = 'roberta.encoder.layer.0';

/** Three of two values each. */
export const HEADS = { heads: 3, group: 1, headSize: 2, fused: 'no' } as const;

/** Of one layer with these heads and twelve neurons. */
export const PLAN: Plan = {
  version: 1,
  fingerprint: 'f',
  rule: 'exact',
  ratios: { heads: 0, neurons: 0, modules: 0, ranks: 0 },
  scopes: { heads: 'layer', neurons: 'global', ranks: 'global' },
  layers: [{ heads: [0, 2], neurons: [1, 11] }],
  modules: [
    { name: `${LAYER}.attention.self.query`, ranks: [1, 2] },
    { name: `${LAYER}.attention.output.dense`, ranks: [0] },
    { name: `${LAYER}.intermediate.dense`, ranks: [2] },
    { name: `${LAYER}.output.dense`, ranks: [0, 1, 2] },
  ],
};

/** Each value tells its place: row 3, column 2 is 302. */
export const matrix = (name: string, rows: number, columns: number): NamedTensor => ({
  name,
  shape: [rows, columns],
  data: Float32Array.from(
    { length: rows * columns },
    (_, i) => 100 * Math.floor(i / columns) + (i % columns),
  ),
});

const SITES: Record<string, [site: string, inputs: number, outputs: number]> = {
  'attention.self.query': ['query', 6, 6],
  'attention.self.key': ['key', 6, 6],
  'attention.output.dense': ['attention.output', 6, 6],
  'intermediate.dense': ['intermediate', 6, 12],
  'output.dense': ['output', 12, 6],
};

export const siteOf = (module: string) => ({
  layer: 0,
  site: SITES[module.slice(LAYER.length + 1)]![0],
});

export const whole = (): Map<string, NamedTensor> =>
  new Map(
    [
      ...Object.entries(SITES).flatMap(([module, [, inputs, outputs]]) => [
        matrix(`${LAYER}.${module}.lora_A.weight`, 3, inputs),
        matrix(`${LAYER}.${module}.lora_B.weight`, outputs, 3),
      ]),
      matrix('classifier.dense.weight', 6, 6),
      { name: 'masks.0.heads', shape: [3], data: new Float32Array(3) },
    ].map((tensor) => [tensor.name, tensor]),
  );

/** A folder of its own for each test. */
export class Scratch {
  readonly #parent = mkdtempSync(join(tmpdir(), 'light-peft-adapter-'));
  /** Not there yet. */
  readonly folder = join(this.#parent, 'some/adapter');

  dispose(): void {
    rmSync(this.#parent, { recursive: true });
  }

  /** "CODE message" of the LightPeftError that `work` ends with, without the folder's name. */
  async failure(work: () => unknown): Promise<string> {
    try {
      await work();
    } catch (error) {
      if (!(error instanceof LightPeftError)) throw error;
      return `${error.code} ${error.message}`.replaceAll(`${this.folder}/`, '').replaceAll(this.folder, '.');
    }
    throw new Error('nothing was thrown');
  }
}
