import { join } from 'node:path';
import { badTokenizer, readObject, readText, readTokenFiles, type TokenFiles } from './tokenizer-files.ts';

/** What stands around a text, by kind of model. */
interface Kind {
  usual: Readonly<Record<string, string>>;
  processor(files: TokenFiles, spacing: Spacing): object;
}

interface Spacing {
  add_prefix_space: boolean;
  trim_offsets: boolean;
}

const ROBERTA: Kind = {
  usual: {
    bos_token: '<s>',
    pad_token: '<pad>',
    eos_token: '</s>',
    unk_token: '<unk>',
    cls_token: '<s>',
    sep_token: '</s>',
    mask_token: '<mask>',
  },
  processor: ({ contents, idOf }, spacing) => {
    const place = (role: string) => [contents[role], idOf(contents[role]!)];
    return { type: 'RobertaProcessing', sep: place('sep_token'), cls: place('cls_token'), ...spacing };
  },
};

/** A text as it is or, where `add_bos_token` says so, behind the token that begins texts. */
const gpt2 = (usual: Kind['usual'], begins: boolean): Kind => ({
  usual,
  processor: ({ config, contents, idOf }) => {
    const bos = contents['bos_token']!;
    const start = (type_id: number) =>
      (config['add_bos_token'] ?? begins) === true ? [{ SpecialToken: { id: bos, type_id } }] : [];
    const text = (id: string, type_id: number) => [...start(type_id), { Sequence: { id, type_id } }];
    return {
      type: 'TemplateProcessing',
      single: text('A', 0),
      pair: [...text('A', 0), ...text('B', 1)],
      special_tokens: { [bos]: { id: bos, ids: [idOf(bos)], tokens: [bos] } },
    };
  },
});

const END = '<|endoftext|>';
const GPT2 = gpt2({ bos_token: END, eos_token: END, unk_token: END }, false);
const OPT = gpt2({ bos_token: '</s>', eos_token: '</s>', unk_token: '</s>', pad_token: '<pad>' }, true);

/** By the beginning of tokenizer_class, else of model_type. OPT's class is GPT-2's. */
const KINDS: readonly [RegExp, Kind][] = [
  [/^opt/i, OPT],
  [/^(gpt2|gpt_?neo(?!_?x)|gptj)/i, GPT2],
  [/^roberta/i, ROBERTA],
];

async function kindOf(folder: string): Promise<Kind> {
  const model = (await readObject(folder, 'config.json'))?.['model_type'];
  const name = (await readObject(folder, 'tokenizer_config.json'))?.['tokenizer_class'] ?? model;
  if (typeof name !== 'string') return ROBERTA;
  if (model === 'opt' && /^gpt2/i.test(name)) return OPT;
  const found = KINDS.find(([pattern]) => pattern.test(name));
  if (found !== undefined) return found[1];
  throw badTokenizer(
    `${join(folder, 'tokenizer.json')} is missing, and of vocab.json and merges.txt only those of RoBERTa, GPT-2, GPT-Neo, ` +
      `GPT-J and OPT are known (this is ${name}); in Python, AutoTokenizer.from_pretrained(…).save_pretrained(…) writes it`,
  );
}

async function readMerges(folder: string): Promise<string[][] | undefined> {
  const text = await readText(folder, 'merges.txt');
  if (text === undefined) return undefined;
  const merges: string[][] = [];
  for (const [i, line] of text.split(/\r?\n/).entries()) {
    // Only at the top: "#version" could be a merge elsewhere.
    if (line === '' || (i === 0 && line.startsWith('#version'))) continue;
    const parts = line.split(' ');
    if (parts.length !== 2)
      throw badTokenizer(`${join(folder, 'merges.txt')}:${i + 1}: a merge is two tokens`);
    merges.push(parts);
  }
  return merges;
}

/**
 * The text of the tokenizer.json that a folder with only vocab.json and merges.txt should have, byte-level BPE: of
 * RoBERTa `<s> $A </s>` and `<s> $A </s></s> $B </s>`, of OPT `</s> $A`, of GPT-2 and its kin `$A`.
 * @returns undefined where the two files are not there
 * @throws {LightPeftError} BAD_TOKENIZER: a file is malformed, or it is another model's
 */
export async function byteLevelTokenizerJson(folder: string): Promise<string | undefined> {
  const [vocab, merges] = await Promise.all([readObject(folder, 'vocab.json'), readMerges(folder)]);
  if (vocab === undefined && merges === undefined) return undefined;
  if (vocab === undefined || merges === undefined)
    throw badTokenizer(
      `${join(folder, 'tokenizer.json')} is missing, and ${vocab === undefined ? 'vocab.json' : 'merges.txt'} ` +
        'too, from which it could be made',
    );
  const kind = await kindOf(folder);
  const files = await readTokenFiles(folder, { file: 'vocab.json', vocab, usual: kind.usual });
  const spacing = { add_prefix_space: files.config['add_prefix_space'] === true, trim_offsets: true };
  return JSON.stringify({
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: files.added,
    normalizer: null,
    pre_tokenizer: { type: 'ByteLevel', ...spacing, use_regex: true },
    post_processor: kind.processor(files, spacing),
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
}
