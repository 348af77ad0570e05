import { expect } from 'chai';
import { encodeWindows } from '../../lib/data/windows.ts';
import { tokenizerOf, truth } from './token-tasks.ts';
import { failure } from './files.ts';

const where = (pair: number) => `x.jsonl:${pair + 1}`;

describe('windows', () => {
  for (const [name, { windows }] of Object.entries(truth.tokenizers))
    for (const { example, max_length: maxLength, stride, found } of windows)
      it(`agree with Python: ${name}, example ${example}, ${maxLength} and ${stride}`, async () => {
        const { question, context } = truth.asked[example]!;
        const tokenizer = await tokenizerOf(name);
        const [encoded] = await encodeWindows([[question, context]], tokenizer, { maxLength, stride, where });
        expect(
          encoded!.map(({ ids, typeIds, sequence, begins, ends, truncated }) => ({
            ids: [...ids],
            types: [...typeIds],
            sequences: [...sequence].map((text) => (text < 0 ? null : text)),
            offsets: [...begins].map((begin, t) => [begin, ends[t]]),
            truncated,
          })),
        ).to.deep.equal(
          found.map(({ ids, types, sequences, offsets }) => ({
            ...{ ids, types, sequences, offsets },
            truncated: false,
          })),
        );
      });

  it('share 128 tokens, or half of what there is room for', async () => {
    const tokenizer = await tokenizerOf('word-piece');
    const pair: [string, string] = ['the', 'the '.repeat(1000)];
    for (const [maxLength, shared] of [
      [304, 128],
      [104, 50],
      [5, 0],
    ] as const) {
      const [encoded] = await encodeWindows([pair], tokenizer, { maxLength, where });
      const [first, second] = encoded!;
      expect(second!.begins[3]).to.equal(first!.begins.at(-2)! - 4 * (shared - 1));
      const told = new Set(
        encoded!.flatMap(({ begins, sequence }) => [...begins].filter((_, t) => sequence[t] === 1)),
      );
      expect(told.size).to.equal(1000);
    }
  });

  it('are refused where they could not go on', async () => {
    const tokenizer = await tokenizerOf('word-piece');
    const pairs: [string, string][] = [
      ['the', 'the'],
      ['the', 'the '.repeat(40)],
    ];
    const refusal = (maxLength: number, stride?: number) =>
      failure(() => encodeWindows(pairs, tokenizer, { maxLength, stride, where }));
    expect(await refusal(14, 10)).to.equal(
      'BAD_OPTION x.jsonl:2: a maximal length of 14 leaves room for 10 tokens of the second text; ' +
        'that must be more than the stride of 10',
    );
    expect(await refusal(4)).to.match(
      /x.jsonl:1: .* room for 0 tokens of the second text; .* more than none$/,
    );
    for (const [maxLength, stride] of [
      [20, -1],
      [20, 1.5],
      [NaN, 1],
    ] as const)
      expect(await refusal(maxLength, stride)).to.match(/^BAD_OPTION .* counts of tokens, not/);
    expect(await encodeWindows(pairs, tokenizer, { maxLength: 14, stride: 9, where })).to.have.length(2);
  });
});
