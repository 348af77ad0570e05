import { expect } from 'chai';
import { answersOf } from '../../lib/data/answers.ts';
import { type Asked, encodeSpans, readSpans, someUnanswerable } from '../../lib/data/spans.ts';
import { Files, failure } from './files.ts';
import { tokenizerOf, truth } from './token-tasks.ts';

const columns = { question: 'question', context: 'context', answers: 'answers' };
const answers = (text: unknown[], answer_start: unknown[]) => ({ text, answer_start });
const asked = truth.asked.map(({ question, context, answer }, idx): Asked => {
  const begin = context.indexOf(answer);
  return {
    idx,
    line: idx + 1,
    question,
    context,
    answers: [{ text: answer, begin, end: begin + answer.length }],
  };
});

describe('questions', () => {
  let files: Files;
  beforeEach(() => {
    files = new Files();
  });
  afterEach(() => files.dispose());

  const read = (row: object, answersOptional = false) =>
    readSpans(files.write('x.jsonl', JSON.stringify(row)), columns, { answersOptional });

  it('are read with answers at code points or at UTF-16 code units', async () => {
    const context = '🚢🚢 two ships';
    for (const start of [3, 5]) {
      const [example] = await read({ id: 'a1', question: 'Q?', context, answers: answers(['two'], [start]) });
      expect(example).to.deep.equal({
        ...{ idx: 0, line: 1, id: 'a1', question: 'Q?', context },
        answers: [{ text: 'two', begin: 5, end: 8 }],
      });
    }
    const [other] = await read({ idx: 4, question: 'Q?', context, answers: answers([], []) });
    expect([other!.idx, other!.id, other!.answers]).to.deep.equal([4, undefined, []]);
  });

  it('may have no answers where that is allowed', async () => {
    for (const row of [{}, { answers: null }]) {
      const [example] = await read({ question: 'Q?', context: 'C', ...row }, true);
      expect(example!.answers).to.be.null;
      expect(await failure(() => read({ question: 'Q?', context: 'C', ...row }))).to.match(
        /^BAD_DATA .*answers/,
      );
    }
    expect(someUnanswerable([{ answers: null }, asked[0]!])).to.be.false;
    expect(someUnanswerable([asked[0]!, { answers: [] }])).to.be.true;
  });

  it('are refused where an answer is not there, or no answer', async () => {
    const refusal = (value: unknown) =>
      failure(() => read({ question: 'Q?', context: '🚢 two ships', answers: value }, true), files.folder);
    for (const start of [0, 4, -1, 99])
      expect(await refusal(answers(['two'], [start]))).to.equal(
        `BAD_DATA x.jsonl:1: column "answers": the context has no "two" at ${start}`,
      );
    expect(await refusal(answers(['two'], [2, 3]))).to.match(/holds 1 texts and 2 values of answer_start$/);
    for (const value of [
      'two',
      3,
      [],
      {},
      answers([1], [1]),
      answers(['two'], ['2']),
      answers(['two'], [1.5]),
    ])
      expect(await refusal(value)).to.match(
        /holds .* where \{ text: \[texts\], answer_start: \[integers\] \} is needed$/,
      );
  });

  for (const [name, { windows, answers: chosen }] of Object.entries(truth.tokenizers)) {
    it(`have the spans that Python gives them: ${name}`, async () => {
      const tokenizer = await tokenizerOf(name);
      for (const { example, max_length: maxLength, stride, found } of windows) {
        const features = await encodeSpans([asked[example]!], tokenizer, { maxLength, stride, file: 'x' });
        expect(features.map(({ spans }) => spans)).to.deep.equal(found.map(({ span }) => span));
        expect(
          features.map(({ begins, ends }) => [...begins].map((begin, t) => [begin, ends[t]])),
        ).to.deep.equal(
          found.map(({ sequences, offsets }) =>
            offsets.map((pair, t) => (sequences[t] === 1 ? pair : [-1, -1])),
          ),
        );
      }
    });

    it(`are answered as by run_qa: ${name}`, async () => {
      const { max_length: maxLength, stride } = truth.answered;
      const features = await encodeSpans(asked, await tokenizerOf(name), { maxLength, stride, file: 'x' });
      const contexts = asked.map(({ context }) => context);
      for (const half of [chosen.slice(0, asked.length), chosen.slice(asked.length)]) {
        const logits = half.flatMap((each) => each.logits.map(([start, end]) => ({ start, end })));
        expect(features.map(({ example }) => example)).to.deep.equal(
          half.flatMap(({ example, logits: windowed }) => windowed.map(() => example)),
        );
        for (const unanswerable of [false, true])
          expect(answersOf(features, logits, contexts, { unanswerable })).to.deep.equal(
            half.map((each) => (unanswerable ? each.unanswerable : each.answerable)),
          );
      }
    });
  }

  const encode = async (example: Asked, maxLength = 100) =>
    encodeSpans([example], await tokenizerOf('byte-level'), { maxLength, file: 'x' });
  const textOf = async (text: string, context: string) => {
    const begin = context.indexOf(text);
    const example = {
      ...{ idx: 0, line: 1 },
      question: ' Q?',
      context,
      answers: [{ text, begin, end: begin + text.length }],
    };
    const [{ spans, begins, ends }] = (await encode(example)) as [Awaited<ReturnType<typeof encode>>[0]];
    return context.slice(begins[spans[0]], ends[spans[1]]);
  };

  it('have spans of all the bytes of a letter, without the spaces around an answer', async () => {
    for (const text of ['🚢', 'é 🚢🚢', '🚢s']) expect(await textOf(text, 'café 🚢🚢s and')).to.equal(text);
    expect(await textOf(' ships ', 'the ships  and')).to.equal('ships');
    expect(await textOf('and', 'the ships and')).to.equal('and');
  });

  it('have the first token for a span where there is no answer, and none where there is no label', async () => {
    const spansOf = async (given: Asked['answers']) =>
      (await encode({ idx: 0, line: 1, question: 'Q?', context: 'the', answers: given })).map(
        ({ spans }) => spans,
      );
    expect(await spansOf([])).to.deep.equal([[0, 0]]);
    expect(await spansOf([{ text: '', begin: 0, end: 0 }])).to.deep.equal([[0, 0]]);
    expect(await spansOf(null)).to.deep.equal([[-1, -1]]);
  });

  it('are not answered where no window has a span', async () => {
    const features = await encode({ idx: 0, line: 1, question: 'Q?', context: '', answers: null });
    const zeros = new Float32Array(features[0]!.ids.length);
    expect(answersOf(features, [{ start: zeros, end: zeros }], [''], { unanswerable: false })).to.deep.equal([
      '',
    ]);
  });

  it('are answered with 30 tokens at most', async () => {
    const context = 'a'.repeat(40);
    const features = await encode({ idx: 0, line: 1, question: 'Q?', context, answers: null });
    const first = features[0]!.begins.indexOf(0);
    const peaks = (...at: number[]) => features[0]!.begins.map((_, t) => (at.includes(t) ? 100 : -t / 100));
    const answer = (last: number) =>
      answersOf(features, [{ start: peaks(first), end: peaks(last) }], [context], {
        unanswerable: false,
      })[0]!;
    expect(answer(first + 29)).to.have.length(30);
    expect(answer(first + 30)).not.to.have.length(31);
  });
});
