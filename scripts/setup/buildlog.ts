import { stripVTControlCharacters } from 'node:util';

const shown = 30;
const longest = 400;

/** The last lines of a failed build that a person can act on: no progress, no command lines. */
export function compilerErrors(output: string): string[] {
  const lines = stripVTControlCharacters(output).split(/\r?\n/);
  const first = lines.findIndex((line) => /^FAILED:|CMake Error|error:/.test(line));
  return lines
    .slice(Math.max(first, 0))
    .filter((line) => line.trim() !== '' && !/^\[\d+\/\d+\]|^(INFO|ERROR) |^ninja: build stopped/.test(line))
    .filter((line) => !/^\S*(g\+\+|clang\+\+|c\+\+|nvcc) .* -o /.test(line))
    .slice(-shown)
    .map((line) => (line.length > longest ? `${line.slice(0, longest)} …` : line));
}
