import { readFileSync } from 'node:fs';

/** Of a JSONL file, without empty ones. */
export const linesOf = (file: string): string[] =>
  readFileSync(file, 'utf8')
    .split('\n')
    .filter((line) => line.trim() !== '');
