import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Tokenizer } from '../../lib/tokenizer.ts';

interface Window {
  ids: number[];
  types: number[];
  sequences: (number | null)[];
  offsets: [number, number][];
  span: [number, number];
}
interface Truth {
  asked: { question: string; context: string; answer: string }[];
  answered: { max_length: number; stride: number };
  tokenizers: Record<
    string,
    {
      words: { words: string[]; ids: number[]; first: number[] }[];
      windows: { example: number; max_length: number; stride: number; found: Window[] }[];
      answers: {
        example: number;
        logits: [number[], number[]][];
        answerable: string;
        unanswerable: string;
      }[];
    }
  >;
  measures: { told: string; right: string[]; exact: number; f1: number }[];
}

const fixture = (name: string): string => fileURLToPath(new URL(`../fixtures/${name}`, import.meta.url));

export const truth = JSON.parse(readFileSync(fixture('token-tasks/truth.json'), 'utf8')) as Truth;

const FOLDERS: Record<string, string> = { 'byte-level': 'tokens', 'word-piece': 'token-forms/bert' };

/** The tokenizers by which the truth was recorded. */
export const tokenizerOf = (name: string): Promise<Tokenizer> =>
  Tokenizer.fromFolder(fixture(FOLDERS[name]!));
