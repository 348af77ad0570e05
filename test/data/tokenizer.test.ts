import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import type { Texts } from '../../lib/data/examples.ts';
import { Tokenizer } from '../../lib/tokenizer.ts';
import { Files, failure } from './files.ts';

interface Case {
  name: string;
  text: string;
  pair?: string;
  max_length: number | null;
  ids: number[];
}
interface TokenizerJson {
  model: { vocab: Record<string, number>; merges: [string, string][] };
  [part: string]: unknown;
}

const folder = fileURLToPath(new URL('../fixtures/tokens', import.meta.url));
const { cases } = JSON.parse(readFileSync(`${folder}/truth.json`, 'utf8')) as { cases: Case[] };
const json = JSON.parse(readFileSync(`${folder}/tokenizer.json`, 'utf8')) as TokenizerJson;
const textsOf = ({ text, pair }: Case): Texts => (pair === undefined ? [text] : [text, pair]);
const UNLIMITED = 100_000;

describe('the tokenizer', () => {
  let tokenizer: Tokenizer;
  let files: Files;
  before(async () => {
    tokenizer = await Tokenizer.fromFolder(folder);
  });
  beforeEach(() => {
    files = new Files();
  });
  afterEach(() => files.dispose());

  const idsOf = async (texts: Texts[], maxLength = UNLIMITED, from = tokenizer) =>
    (await from.encode(texts, { maxLength })).map(({ ids }) => [...ids]);
  const wholeLengths = new Map(
    cases
      .filter(({ max_length }) => max_length === null)
      .map((each) => [JSON.stringify(textsOf(each)), each.ids.length]),
  );

  for (const each of cases)
    it(`agrees with Python: ${each.name}, at most ${each.max_length ?? 'any'}`, async () => {
      const maxLength = each.max_length ?? UNLIMITED;
      const [encoded] = await tokenizer.encode([textsOf(each)], { maxLength });
      expect([...encoded!.ids]).to.deep.equal(each.ids);
      expect([...encoded!.typeIds]).to.deep.equal(each.ids.map(() => 0));
      const whole = wholeLengths.get(JSON.stringify(textsOf(each)))!;
      expect(encoded!.truncated).to.equal(whole > maxLength);
    });

  it('agrees with itself when singles and pairs come together, and in their order', async () => {
    const whole = cases.filter(({ max_length }) => max_length === null);
    // Over more than one chunk.
    const many = Array.from({ length: 40 }, () => whole).flat();
    expect(await idsOf(many.map(textsOf))).to.deep.equal(many.map(({ ids }) => ids));
    expect(await idsOf([])).to.deep.equal([]);
  });

  it('keeps overlapping calls with other lengths apart', async () => {
    // Enough of each that they would meet.
    const limited = [null, 16, 17, 24].map((limit) => {
      const some = cases.filter(({ max_length, pair }) => max_length === limit && pair !== undefined);
      return Array.from({ length: 100 }, () => some).flat();
    });
    const encoded = await Promise.all(
      limited.map((some) => idsOf(some.map(textsOf), some[0]!.max_length ?? UNLIMITED)),
    );
    expect(encoded).to.deep.equal(limited.map((some) => some.map(({ ids }) => ids)));
  });

  it('marks as truncated just what is longer', async () => {
    const text: Texts = ['the ships and the bridge'];
    const [whole] = await idsOf([text]);
    for (const [less, truncated] of [
      [0, false],
      [1, true],
    ] as const) {
      const [encoded] = await tokenizer.encode([text], { maxLength: whole!.length - less });
      expect(encoded!.ids.length).to.equal(whole!.length - less);
      expect(encoded!.truncated).to.equal(truncated);
    }
  });

  it('refuses a length that leaves no room for text, and works on', async () => {
    for (const [texts, least] of [
      [['the'], 3],
      [['the', 'ships'], 5],
    ] as [Texts, number][]) {
      expect((await idsOf([texts], least))[0]).to.have.length(least);
      for (const maxLength of [least - 1, 0, -1, 7.5, NaN])
        expect(await failure(() => tokenizer.encode([texts], { maxLength }))).to.match(
          /^BAD_OPTION a maximal length of .* leaves no room/,
        );
    }
    expect(await idsOf([['the ships']])).to.have.length(1);
  });

  it('knows where tokens come from, in UTF-16 code units', async () => {
    const texts: Texts[] = [['the 🚢 café'], ['🚢🚢', 'e\u0301 👩‍👩‍👧 the </s> 𝔱'], ['ships 🚢'.repeat(20)]];
    for (const each of [texts, texts.slice(0, 1)]) {
      const plain = await tokenizer.encode(each, { maxLength: 60 });
      const located = await tokenizer.encodeLocated(each, { maxLength: 60 });
      for (const [i, { sequence, begins, ends, ...rest }] of located.entries()) {
        expect(rest).to.deep.equal(plain[i]);
        const covered = each[i]!.map(() => '');
        let last = '';
        sequence.forEach((text, t) => {
          const [begin, end] = [begins[t]!, ends[t]!];
          if (text < 0) return expect([begin, end]).to.deep.equal([0, 0]);
          // The bytes of one letter share its place.
          const place = `${text} ${begin} ${end}`;
          if (place !== last) covered[text] += each[i]![text]!.slice(begin, end);
          last = place;
        });
        const whole = each[i]!.map((text) => text.replaceAll(' ', ''));
        if (rest.truncated) expect(whole[0]!.startsWith(covered[0]!)).to.be.true;
        else expect(covered).to.deep.equal(whole);
      }
    }
  });

  it('knows its vocabulary and the fingerprint of its file', () => {
    // And the mask, which was added.
    expect(tokenizer.vocabSize).to.equal(Object.keys(json.model.vocab).length + 1);
    const bytes = readFileSync(`${folder}/tokenizer.json`);
    expect(tokenizer.fingerprint).to.equal(createHash('sha256').update(bytes).digest('hex'));
  });

  it('disregards the truncation and padding of its file', async () => {
    const settings = {
      truncation: { direction: 'Right', max_length: 4, strategy: 'LongestFirst', stride: 0 },
      padding: {
        strategy: { Fixed: 90 },
        direction: 'Right',
        pad_to_multiple_of: null,
        pad_id: 1,
        pad_type_id: 0,
        pad_token: '<pad>',
      },
    };
    files.write('tokenizer.json', JSON.stringify({ ...json, ...settings }));
    const other = await Tokenizer.fromFolder(files.folder);
    const [plain] = cases;
    expect(await idsOf([textsOf(plain!)], UNLIMITED, other)).to.deep.equal([plain!.ids]);
    const [long] = await other.encode([['the ships '.repeat(50)]], { maxLength: 60 });
    expect([long!.ids.length, long!.truncated]).to.deep.equal([60, true]);
  });

  it("gives type ids, and sees truncation where no special token is added, as GPT-2's", async () => {
    const template = (type_id: number, id: string) => ({ Sequence: { id, type_id } });
    const processor = {
      type: 'TemplateProcessing',
      single: [template(0, 'A')],
      pair: [template(0, 'A'), template(1, 'B')],
      special_tokens: {},
    };
    files.write('tokenizer.json', JSON.stringify({ ...json, post_processor: processor }));
    const other = await Tokenizer.fromFolder(files.folder);
    const texts: Texts[] = [['the ships', 'the'], ['the ships'], ['the']];
    const encoded = await other.encode(texts, { maxLength: 3 });
    expect(encoded.map(({ truncated }) => truncated)).to.deep.equal([true, true, false]);
    const [whole] = await other.encode([['the', 'the']], { maxLength: 20 });
    const half = whole!.ids.length / 2;
    expect(whole!.typeIds).to.deep.equal(new Int32Array(2 * half).fill(1, half));
  });

  it('is refused where its file is none', async () => {
    const refusal = () => failure(() => Tokenizer.fromFolder(files.folder), files.folder);
    expect(await refusal()).to.equal(
      'BAD_TOKENIZER tokenizer.json is missing, and vocab.json with merges.txt and vocab.txt too, from which it could be made',
    );
    files.write('tokenizer.model', 'x');
    expect(await refusal()).to.match(
      /cannot be made from tokenizer\.model, a SentencePiece model; in Python, .*save_pretrained/,
    );
    for (const text of ['', 'x', '{}', '{"model":{"type":"Odd"}}']) {
      files.write('tokenizer.json', text);
      expect(await refusal()).to.match(/^BAD_TOKENIZER tokenizer\.json: ./);
    }
  });

  describe('of a folder with only vocab.json and merges.txt', () => {
    const merges = ['#version: 0.2', ...json.model.merges.map((pair) => pair.join(' '))];
    const write = (lines = merges, vocab: object = json.model.vocab) => {
      files.write('vocab.json', JSON.stringify(vocab));
      files.write('merges.txt', lines.join('\n') + '\n');
    };
    const made = () => Tokenizer.fromFolder(files.folder);
    const refusal = () => failure(made, files.folder);
    const fits = async (built: Tokenizer) => {
      for (const each of cases)
        expect(await idsOf([textsOf(each)], each.max_length ?? UNLIMITED, built), each.name).to.deep.equal([
          each.ids,
        ]);
    };
    // The file that was recorded has its mask as an added token.
    const vocab = { ...json.model.vocab, '<mask>': Object.keys(json.model.vocab).length };

    it("is RoBERTa's", async () => {
      write(merges, vocab);
      await fits(await made());
    });

    it('takes the special tokens that the folder names', async () => {
      const { '<mask>': id, ...without } = vocab as Record<string, number>;
      write(merges, { ...without, '[M]': id });
      files.write(
        'special_tokens_map.json',
        JSON.stringify({ mask_token: { content: '[M]', lstrip: false } }),
      );
      const [ids] = await idsOf([['the [M]']], UNLIMITED, await made());
      expect(ids!.slice(-3)).to.deep.equal([224, id, 2]);
    });

    it('takes further tokens from added_tokens.json', async () => {
      write(merges, vocab);
      const id = vocab['<mask>'] + 1;
      files.write('added_tokens.json', JSON.stringify({ lighthouse: id + 1, keeper: id }));
      const built = await made();
      expect(await idsOf([['lighthousekeeper']], UNLIMITED, built)).to.deep.equal([[0, id + 1, id, 2]]);
      expect(built.vocabSize).to.equal(id + 2);
    });

    it('tolerates CRLF, and adds a prefix space where the folder says so', async () => {
      write(
        merges.map((line) => `${line}\r`),
        vocab,
      );
      files.write('tokenizer_config.json', '{"tokenizer_class":"RobertaTokenizer","add_prefix_space":true}');
      const built = await made();
      expect(await idsOf([['the ships']], UNLIMITED, built)).to.deep.equal(await idsOf([[' the ships']]));
    });

    it('is refused where that would be another', async () => {
      write(merges, vocab);
      files.write('config.json', '{"model_type":"bart"}');
      expect(await refusal()).to.match(/^BAD_TOKENIZER tokenizer\.json is missing, .*\(this is bart\)/);
      files.write('tokenizer_config.json', '{"tokenizer_class":"CLIPTokenizer"}');
      expect(await refusal()).to.match(/\(this is CLIPTokenizer\)/);
      files.write('tokenizer_config.json', '{"tokenizer_class":"RobertaTokenizerFast"}');
      expect((await made()).vocabSize).to.equal(Object.keys(vocab).length);
    });

    it('is refused where the files are malformed', async () => {
      const without: Record<string, number> = { ...vocab };
      delete without['</s>'];
      write(merges, without);
      expect(await refusal()).to.equal('BAD_TOKENIZER vocab.json has no special token </s>');
      write([...merges, 'a b c'], vocab);
      expect(await refusal()).to.equal(
        `BAD_TOKENIZER merges.txt:${merges.length + 1}: a merge is two tokens`,
      );
      write([...merges, 'q nowhere'], vocab);
      expect(await refusal()).to.match(/^BAD_TOKENIZER tokenizer\.json: .*nowhere/);
      write(merges, []);
      expect(await refusal()).to.match(/^BAD_TOKENIZER vocab\.json/);
      files.write('vocab.json', '{');
      expect(await refusal()).to.match(/^BAD_TOKENIZER vocab\.json: .*JSON/);
    });
  });

  describe('of an older folder', () => {
    interface Form {
      ids: number[][];
      types: number[][];
    }
    const forms = fileURLToPath(new URL('../fixtures/token-forms', import.meta.url));
    const { texts, found } = JSON.parse(readFileSync(`${forms}/truth.json`, 'utf8')) as {
      texts: Texts[];
      found: Record<string, Form>;
    };
    for (const [name, { ids, types }] of Object.entries(found))
      it(`with the files of ${name} is what transformers makes of them`, async () => {
        const built = await Tokenizer.fromFolder(`${forms}/${name}`);
        for (const [i, text] of texts.entries()) {
          const [encoded] = await built.encode([text], { maxLength: UNLIMITED });
          expect([...encoded!.ids], JSON.stringify(text)).to.deep.equal(ids[i]);
          expect([...encoded!.typeIds], JSON.stringify(text)).to.deep.equal(types[i]);
        }
      });
  });
});
