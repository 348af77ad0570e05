import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { LightPeftError, messageOf } from '../errors.ts';

/** A token as tokenizer.json and special_tokens_map.json describe it. */
export interface Token {
  content: string;
  single_word: boolean;
  lstrip: boolean;
  rstrip: boolean;
  normalized: boolean;
}

/** A token with its place in the vocabulary. */
export type AddedToken = Token & { id: number; special: boolean };

export const badTokenizer = (message: string, cause?: unknown) =>
  new LightPeftError('BAD_TOKENIZER', message, { cause });

/** A file's text; undefined where there is no such file. */
export const readText = (folder: string, name: string): Promise<string | undefined> =>
  readFile(join(folder, name), 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw badTokenizer(messageOf(error), error);
  });

/** The object in a JSON file; undefined where there is no such file. */
export async function readObject(folder: string, name: string): Promise<Record<string, unknown> | undefined> {
  const text = await readText(folder, name);
  if (text === undefined) return undefined;
  const file = join(folder, name);
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null) return value as Record<string, unknown>;
  } catch (error) {
    throw badTokenizer(`${file}: ${messageOf(error)}`, error);
  }
  throw badTokenizer(`${file}: not a JSON object`);
}

const described = (role: string, value: unknown): Token => {
  // The mask takes the space to its left, as in transformers' RobertaTokenizer.
  const lstrip = role === 'mask_token';
  const token = { single_word: false, lstrip, rstrip: false, normalized: false };
  if (typeof value === 'string') return { ...token, content: value };
  const { content, ...more } = (value ?? {}) as Partial<Token>;
  if (typeof content !== 'string') throw badTokenizer(`special token ${role} is malformed`);
  return { ...token, ...more, content };
};

/** What a folder says of its tokens. */
export interface TokenFiles {
  /** tokenizer_config.json; empty where there is none. */
  config: Record<string, unknown>;
  /** Special tokens by role. */
  contents: Record<string, string>;
  /** For tokenizer.json: special tokens and those of added_tokens.json, by id. */
  added: AddedToken[];
  idOf: (content: string) => number;
}

/**
 * Special tokens are those of special_tokens_map.json, else of tokenizer_config.json, else the usual ones.
 * @throws {LightPeftError} BAD_TOKENIZER: one is malformed or not in the vocabulary
 */
export async function readTokenFiles(
  folder: string,
  {
    file,
    vocab,
    usual,
  }: { file: string; vocab: Readonly<Record<string, unknown>>; usual: Readonly<Record<string, string>> },
): Promise<TokenFiles> {
  const config = (await readObject(folder, 'tokenizer_config.json')) ?? {};
  const map = (await readObject(folder, 'special_tokens_map.json')) ?? {};
  const more = (await readObject(folder, 'added_tokens.json')) ?? {};
  const idOf = (content: string): number => {
    const id = vocab[content] ?? more[content];
    if (typeof id === 'number') return id;
    throw badTokenizer(`${join(folder, file)} has no special token ${content}`);
  };
  const tokens = new Map<string, AddedToken>();
  const contents: Record<string, string> = {};
  for (const [role, content] of Object.entries(usual)) {
    const token = described(role, map[role] ?? config[role] ?? content);
    contents[role] = token.content;
    tokens.set(token.content, { id: idOf(token.content), ...token, special: true });
  }
  const plain = { single_word: false, lstrip: false, rstrip: false, normalized: true, special: false };
  for (const content of Object.keys(more))
    if (!tokens.has(content)) tokens.set(content, { id: idOf(content), content, ...plain });
  const added = [...tokens.values()].sort((a, b) => a.id - b.id);
  return { config, contents, added, idOf };
}
