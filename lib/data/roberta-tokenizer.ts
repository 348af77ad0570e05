import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { LightPeftError, messageOf } from '../errors.ts';

/** A token as tokenizer.json and special_tokens_map.json describe it. */
interface Token {
  content: string;
  single_word: boolean;
  lstrip: boolean;
  rstrip: boolean;
  normalized: boolean;
}

// The mask takes the space to its left, as in transformers' RobertaTokenizer.
const SPECIAL = {
  bos_token: '<s>',
  pad_token: '<pad>',
  eos_token: '</s>',
  unk_token: '<unk>',
  cls_token: '<s>',
  sep_token: '</s>',
  mask_token: '<mask>',
};
type Role = keyof typeof SPECIAL;

const bad = (message: string, cause?: unknown) => new LightPeftError('BAD_TOKENIZER', message, { cause });

/** The object in a JSON file; undefined where there is no such file. */
const readObject = async (folder: string, name: string): Promise<Record<string, unknown> | undefined> => {
  const file = join(folder, name);
  try {
    const value: unknown = JSON.parse(await readFile(file, 'utf8'));
    if (typeof value === 'object' && value !== null) return value as Record<string, unknown>;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw bad(`${file}: ${messageOf(error)}`, error);
  }
  throw bad(`${file}: not a JSON object`);
};

const readMerges = async (folder: string): Promise<string[][] | undefined> => {
  const file = join(folder, 'merges.txt');
  const text = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw bad(messageOf(error), error);
  });
  if (text === undefined) return undefined;
  const merges: string[][] = [];
  for (const [i, line] of text.split(/\r?\n/).entries()) {
    // Only at the top: "#version" could be a merge elsewhere.
    if (line === '' || (i === 0 && line.startsWith('#version'))) continue;
    const parts = line.split(' ');
    if (parts.length !== 2) throw bad(`${file}:${i + 1}: a merge is two tokens`);
    merges.push(parts);
  }
  return merges;
};

/** GPT-2 and OPT keep files of the same names, whose texts want other special tokens around them. */
const checkKind = async (folder: string, config: Record<string, unknown>): Promise<void> => {
  const kind = config['tokenizer_class'] ?? (await readObject(folder, 'config.json'))?.['model_type'];
  if (typeof kind !== 'string' || /^roberta/i.test(kind)) return;
  throw bad(
    `${join(folder, 'tokenizer.json')} is missing, and only RoBERTa's can be made from vocab.json and merges.txt ` +
      `(this is ${kind}); in Python, AutoTokenizer.from_pretrained(…).save_pretrained(…) writes it`,
  );
};

const specialToken = (role: Role, value: unknown): Token => {
  const token = { single_word: false, lstrip: role === 'mask_token', rstrip: false, normalized: false };
  if (typeof value === 'string') return { ...token, content: value };
  const described = (value ?? {}) as Partial<Token>;
  if (typeof described.content !== 'string') throw bad(`special token ${role} is malformed`);
  return { ...token, ...described, content: described.content };
};

/**
 * The text of the tokenizer.json that a RoBERTa folder with only vocab.json and merges.txt should have: byte-level BPE,
 * `<s> $A </s>`, `<s> $A </s></s> $B </s>`. Special tokens are those of special_tokens_map.json, else of
 * tokenizer_config.json, else RoBERTa's; added_tokens.json adds others.
 * @throws {LightPeftError} BAD_TOKENIZER: a file is missing or malformed, or the folder is not RoBERTa's
 */
export const robertaTokenizerJson = async (folder: string): Promise<string> => {
  const [vocab, merges] = await Promise.all([readObject(folder, 'vocab.json'), readMerges(folder)]);
  if (vocab === undefined || merges === undefined)
    throw bad(
      `${join(folder, 'tokenizer.json')} is missing, and ${vocab === undefined ? 'vocab.json' : 'merges.txt'} ` +
        'too, from which it could be made',
    );
  const config = (await readObject(folder, 'tokenizer_config.json')) ?? {};
  await checkKind(folder, config);
  const map = (await readObject(folder, 'special_tokens_map.json')) ?? {};
  const added = (await readObject(folder, 'added_tokens.json')) ?? {};

  const idOf = (content: string): number => {
    const id = vocab[content] ?? added[content];
    if (typeof id === 'number') return id;
    throw bad(`${join(folder, 'vocab.json')} has no special token ${content}`);
  };
  const tokens = new Map<string, Token & { id: number; special: boolean }>();
  const contentOf = {} as Record<Role, string>;
  for (const [role, usual] of Object.entries(SPECIAL) as [Role, string][]) {
    const token = specialToken(role, map[role] ?? config[role] ?? usual);
    contentOf[role] = token.content;
    tokens.set(token.content, { id: idOf(token.content), ...token, special: true });
  }
  const plain = { single_word: false, lstrip: false, rstrip: false, normalized: true, special: false };
  for (const content of Object.keys(added))
    if (!tokens.has(content)) tokens.set(content, { id: idOf(content), content, ...plain });

  const spacing = { add_prefix_space: config['add_prefix_space'] === true, trim_offsets: true };
  const place = (role: Role) => [contentOf[role], idOf(contentOf[role])];
  return JSON.stringify({
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: [...tokens.values()].sort((a, b) => a.id - b.id),
    normalizer: null,
    pre_tokenizer: { type: 'ByteLevel', ...spacing, use_regex: true },
    post_processor: {
      type: 'RobertaProcessing',
      sep: place('sep_token'),
      cls: place('cls_token'),
      ...spacing,
    },
    decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: '',
      end_of_word_suffix: '',
      fuse_unk: false,
      byte_fallback: false,
      vocab,
      merges,
    },
  });
};
