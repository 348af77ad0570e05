// Compiles the CUDA kernels as the addon's build does, which takes nvcc but neither a GPU nor LibTorch, and prints what
// the assembler says of each: a kernel that spills registers to memory is seen here first.
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { type Compiled, parsePtxas, table } from './check-cuda/ptxas.ts';
import { askNvcc, findNvcc } from './setup/cuda.ts';
import { projectRoot } from './setup/paths.ts';
import { runProgram, which } from './setup/program.ts';

const kernels = join(projectRoot, 'native/ops/cuda');

/** Names as in the source, without types of arguments, which template arguments mostly tell already. */
async function sourceNames(mangled: readonly string[], nvccFolder: string): Promise<Map<string, string>> {
  const program = which(join(nvccFolder, 'cu++filt')) ?? which('c++filt');
  if (program === undefined || mangled.length === 0) return new Map();
  const told = await runProgram(program, ['-p', ...mangled]);
  const names = told.stdout.trim().split('\n');
  return new Map(
    mangled.map((name, i) => [name, (names[i] ?? name).replaceAll('(anonymous namespace)::', '')]),
  );
}

async function check(nvcc: string): Promise<void> {
  const { folder } = await askNvcc(nvcc);
  const sources = readdirSync(kernels).filter((name) => name.endsWith('.cu'));
  const objects = mkdtempSync(join(tmpdir(), 'light-peft-cuda-'));
  const compiled: Compiled[] = [];
  const host = process.env['CXX'] ? ['-ccbin', process.env['CXX']] : [];
  const flags = ['--options-file', join(kernels, 'nvcc.flags'), ...host, `-I${join(projectRoot, 'native')}`];
  const waiting = [...sources];
  const compile = async (): Promise<void> => {
    for (let name = waiting.shift(); name !== undefined; name = waiting.shift()) {
      const source = join(kernels, name);
      const files = ['-c', source, '-o', join(objects, `${name}.o`)];
      const { ok, output } = await runProgram(nvcc, [...flags, '-Xptxas', '-v', ...files]);
      const parsed = parsePtxas(output);
      if (parsed.words.length > 0) console.error(parsed.words.join('\n'));
      if (!ok) {
        console.error(`${relative(projectRoot, source)} does not compile`);
        process.exitCode = 1;
      }
      compiled.push(...parsed.compiled);
    }
  };
  try {
    await Promise.all(Array.from({ length: availableParallelism() }, compile));
  } finally {
    rmSync(objects, { recursive: true });
  }
  const names = await sourceNames([...new Set(compiled.map(({ name }) => name))], folder);
  if (compiled.length > 0) console.log(table(compiled, (name) => names.get(name) ?? name));
  console.log(`${sources.length} file${sources.length === 1 ? '' : 's'} of CUDA kernels`);
}

const nvcc = findNvcc();
if (nvcc === undefined) console.log('skipped: no nvcc');
else await check(nvcc);
