/** What the assembler says of a kernel, or of a function that kernels call. */
export interface Compiled {
  /** Mangled. */
  name: string;
  /** `sm_90`, say. */
  arch: string;
  /** Absent of a function that is called: it has its caller's. */
  registers?: number;
  /** Declared with a size, in bytes; what a launch adds is not known here. */
  shared?: number;
  /** Bytes a thread. */
  stack: number;
  spillStores: number;
  spillLoads: number;
}

/** Lines that need no reader. Other words of the assembler's do, even where it calls them information. */
const silent = /^\s*$|^ptxas info\s*: (\d+ bytes gmem|Compile time)/;

/** What nvcc prints with `-Xptxas -v`, parted into what was compiled and lines that are for people. */
export function parsePtxas(output: string): { compiled: Compiled[]; words: string[] } {
  const found = new Map<string, Compiled>();
  const words: string[] = [];
  let arch = '';
  let entry = '';
  let name = '';
  const bytes = (text: string, what: string): number =>
    Number(new RegExp(`(\\d+) bytes ${what}`).exec(text)?.[1] ?? 0);

  for (const line of output.split(/\r?\n/)) {
    const compiling = /Compiling (?:entry )?function '(.+)' for '(.+)'/.exec(line);
    const properties = /Function properties for (\S+)/.exec(line)?.[1];
    const registers = /Used (\d+) registers/.exec(line)?.[1];
    if (compiling) [, entry = '', arch = ''] = compiling;
    else if (properties !== undefined) name = properties;
    else if (/bytes stack frame/.test(line)) {
      // A function that several kernels call is told of after each of them.
      found.set(`${name} ${arch}`, {
        name,
        arch,
        stack: bytes(line, 'stack frame'),
        spillStores: bytes(line, 'spill stores'),
        spillLoads: bytes(line, 'spill loads'),
      });
    } else if (registers !== undefined) {
      const kernel = found.get(`${entry} ${arch}`);
      if (kernel) Object.assign(kernel, { registers: Number(registers), shared: bytes(line, 'smem') });
    } else if (!silent.test(line)) words.push(line);
  }
  return { compiled: [...found.values()], words };
}

/** One line for each, under their names as in the source. */
export function table(compiled: readonly Compiled[], sourceName: (mangled: string) => string): string {
  const rows = compiled
    .map((of) => ({ of, name: sourceName(of.name) }))
    .sort((a, b) => compare(a.name, b.name) || compare(a.of.arch, b.of.arch))
    .map(({ of, name }) => [
      ...[name, of.arch],
      ...[of.registers, of.shared, of.stack, of.spillStores, of.spillLoads].map((n) => String(n ?? '-')),
    ]);
  const head = ['kernel', 'for', 'registers', 'shared', 'stack', 'spill stores', 'spill loads'];
  const lines = [head, ...rows];
  const widths = head.map((_, i) => Math.max(...lines.map((cells) => cells[i]!.length)));
  return lines
    .map((cells) =>
      cells.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!))).join('  '),
    )
    .join('\n');
}

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
