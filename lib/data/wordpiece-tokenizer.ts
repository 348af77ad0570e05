import { join } from 'node:path';
import { badTokenizer, readObject, readText, readTokenFiles } from './tokenizer-files.ts';

const USUAL = {
  pad_token: '[PAD]',
  unk_token: '[UNK]',
  cls_token: '[CLS]',
  sep_token: '[SEP]',
  mask_token: '[MASK]',
};

/** By tokenizer_class; others cut texts into words in their own ways. */
const KNOWN = /^(Bert|DistilBert|Electra)Tokenizer(Fast)?$/;

/**
 * The text of the tokenizer.json that a folder with only vocab.txt should have, as BERT, DistilBERT and ELECTRA:
 * WordPiece, `[CLS] $A [SEP]` and `[CLS] $A [SEP] $B [SEP]`.
 * @returns undefined where there is no vocab.txt
 * @throws {LightPeftError} BAD_TOKENIZER: a special token is not in it, or it is another kind of tokenizer's
 */
export async function wordPieceTokenizerJson(folder: string): Promise<string | undefined> {
  const text = await readText(folder, 'vocab.txt');
  if (text === undefined) return undefined;
  const name = (await readObject(folder, 'tokenizer_config.json'))?.['tokenizer_class'];
  if (typeof name === 'string' && !KNOWN.test(name))
    throw badTokenizer(
      `${join(folder, 'tokenizer.json')} is missing, and cannot be made from vocab.txt for a ${name}; in Python, ` +
        'AutoTokenizer.from_pretrained(…).save_pretrained(…) writes it',
    );
  const lines = text.split(/\r?\n/);
  if (lines.at(-1) === '') lines.pop();
  const vocab = Object.fromEntries(lines.map((token, id) => [token, id]));
  const { config, contents, added, idOf } = await readTokenFiles(folder, {
    ...{ file: 'vocab.txt', vocab, usual: USUAL },
  });
  const special = (role: string, type_id: number) => ({ SpecialToken: { id: contents[role], type_id } });
  const sequence = (id: string, type_id: number) => ({ Sequence: { id, type_id } });
  const single = [special('cls_token', 0), sequence('A', 0), special('sep_token', 0)];
  const entry = (role: string) => {
    const token = contents[role]!;
    return [token, { id: token, ids: [idOf(token)], tokens: [token] }] as const;
  };
  return JSON.stringify({
    version: '1.0',
    truncation: null,
    padding: null,
    // A mask here takes no space with it.
    added_tokens: added.map((token) => ({ ...token, lstrip: false })),
    normalizer: {
      type: 'BertNormalizer',
      clean_text: true,
      handle_chinese_chars: config['tokenize_chinese_chars'] ?? true,
      strip_accents: config['strip_accents'] ?? null,
      lowercase: config['do_lower_case'] ?? true,
    },
    pre_tokenizer: { type: 'BertPreTokenizer' },
    post_processor: {
      type: 'TemplateProcessing',
      single,
      pair: [...single, sequence('B', 1), special('sep_token', 1)],
      special_tokens: Object.fromEntries([entry('cls_token'), entry('sep_token')]),
    },
    decoder: { type: 'WordPiece', prefix: '##', cleanup: true },
    model: {
      type: 'WordPiece',
      unk_token: contents['unk_token'],
      continuing_subword_prefix: '##',
      max_input_chars_per_word: 100,
      vocab,
    },
  });
}
