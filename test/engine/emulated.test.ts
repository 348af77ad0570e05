import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { expect } from 'chai';

const ADDON = 'light_peft_emulated.node';
const root = join(import.meta.dirname, '../..');
const { addon } = JSON.parse(readFileSync(join(root, 'build/current.json'), 'utf8')) as { addon: string };

/** What the engine does on a GPU but for what LibTorch does there: every operation of its own by its CUDA kernel. */
describe('the engine over the CUDA kernels, as the host runs them', function () {
  this.timeout(15 * 60_000);
  // A build with CUDA has them for the GPU alone, and they do not depend on the processor's instructions.
  const skips = !existsSync(join(root, dirname(addon), ADDON)) || Boolean(process.env['LIGHT_PEFT_ISA']);

  for (const [what, file, least] of [
    ['computes what transformers and PEFT compute', 'parity.test.ts', 130],
    ['holds what must hold whatever the weights are', 'theorems.test.ts', 46],
    ['records steps that do what launched ones do', 'graphs.test.ts', 13],
    ['does in halves what it has no memory for', 'memory.test.ts', 4],
    ['gives back of a cut what can be', 'reconstruction.test.ts', 12],
  ] as const)
    (skips ? it.skip : it)(what, () => {
      const mocha = createRequire(import.meta.url).resolve('mocha/bin/mocha.js');
      const args = ['--no-config', '--import=tsx', '--timeout=300000', '--reporter=json'];
      const { stdout, stderr } = spawnSync(
        process.execPath,
        [mocha, ...args, join(import.meta.dirname, file)],
        {
          cwd: root,
          encoding: 'utf8',
          maxBuffer: 2 ** 26,
          env: { ...process.env, LIGHT_PEFT_ADDON: ADDON },
        },
      );
      // Before the report may stand what a library has said.
      const report = JSON.parse(stdout.slice(stdout.indexOf('{\n')) || '{}') as {
        stats?: { passes: number };
        failures?: { fullTitle: string; err: { message: string } }[];
      };
      expect(
        report.failures?.map(({ fullTitle, err }) => `${fullTitle}: ${err.message}`),
        stderr,
      ).deep.equal([]);
      expect(report.stats?.passes).least(least);
    });
});
