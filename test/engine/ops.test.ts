import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect } from 'chai';
import { native } from '../../lib/native.ts';

interface Comparison {
  op: string;
  what: string;
  dtype: string;
  error: number;
  bound: number;
}

const root = join(import.meta.dirname, '../..');
const { addon } = JSON.parse(readFileSync(join(root, 'build/current.json'), 'utf8')) as { addon: string };
const folder = join(root, dirname(addon));

/** What test/native prints: each op against float64, its gradients against autograd's. */
function comparisons(given: readonly string[], isa: string): Comparison[] {
  const program = join(folder, 'op_check');
  const env = { ...process.env, LIGHT_PEFT_ISA: isa };
  const { status, stdout, stderr } = spawnSync(program, given, { encoding: 'utf8', maxBuffer: 2 ** 26, env });
  expect(status, stderr).equal(0);
  return stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Comparison);
}

const KINDS = [
  ...[
    'activation',
    'gate',
    'moments',
    'norm',
    'rms',
    'dropout',
    'embedding',
    'gather',
    'linear',
    'attention',
    'library',
    'heads',
    'rotation',
  ],
  ...['loss', 'teacher', 'adamw', 'threads'],
];

const kindOf = ({ op }: Comparison): string => op.split(' ')[0]!;

const ISAS = ['avx2', 'avx512', 'avx512_bf16', 'amx'] as const;
const best = native().machine().isa;

for (const { kernels, flags, isa } of [
  ...ISAS.slice(0, ISAS.indexOf(best) + 1).map((isa) => ({ kernels: `by those for ${isa}`, flags: [], isa })),
  { kernels: 'by the CUDA kernels, as the host runs them', flags: ['--emulated'], isa: best },
])
  describe(`every op is its float64 reference ${kernels}`, () => {
    // A build with CUDA has these kernels for a GPU alone.
    if (flags.length > 0 && !existsSync(join(folder, 'light_peft_emulated.node'))) return;
    const all = comparisons(flags, isa);
    for (const kind of KINDS)
      for (const dtype of ['float32', 'bfloat16']) {
        const some = all.filter((one) => kindOf(one) === kind && one.dtype === dtype);
        if (some.length > 0)
          it(`${kind} in ${dtype}: ${some.length} values and gradients`, () => {
            const wrong = some.filter(({ error, bound }) => !(error <= bound));
            expect(wrong).deep.equal([]);
          });
      }
    it('none is left out', () => {
      if (flags.length > 0) expect(all.map(kindOf)).include('library');
      expect(all.length).greaterThan(2600);
      expect(all.filter((one) => !KINDS.includes(kindOf(one)))).deep.equal([]);
    });
  });
