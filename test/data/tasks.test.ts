import { expect } from 'chai';
import { readExamples } from '../../lib/data/examples.ts';
import { encodeLabel, type WholeLabels } from '../../lib/data/labels.ts';
import { taskOf, usualMetrics } from '../../lib/tasks.ts';
import { Files, failure } from './files.ts';

// A row as the Hugging Face data set has it, the texts it is to give and the class of its label.
const ROWS = {
  cola: [{ sentence: 'S', label: 1, idx: 0 }, ['S'], 'acceptable'],
  mrpc: [{ sentence1: 'S', sentence2: 'T', label: 0, idx: 0 }, ['S', 'T'], 'not_equivalent'],
  rte: [{ sentence1: 'S', sentence2: 'T', label: 0, idx: 0 }, ['S', 'T'], 'entailment'],
  sst2: [{ sentence: 'S', label: 0, idx: 0 }, ['S'], 'negative'],
  boolq: [{ question: 'Q', passage: 'P', label: true, idx: 0 }, ['Q', 'P'], 'True'],
  cb: [{ premise: 'P', hypothesis: 'H', label: 2, idx: 0 }, ['P', 'H'], 'neutral'],
  multirc: [
    { paragraph: 'P', question: 'Q?', answer: 'A', label: 0, idx: { paragraph: 0, question: 0, answer: 0 } },
    ['P', 'Q? A'],
    'False',
  ],
  wic: [
    { word: 'w', sentence1: 'S', sentence2: 'T', start1: 0, label: 0, idx: 0 },
    ['w: S', 'w: T'],
    'False',
  ],
} as const;

describe('tasks', () => {
  let files: Files;
  beforeEach(() => {
    files = new Files();
  });
  afterEach(() => files.dispose());

  for (const [name, [row, texts, label]] of Object.entries(ROWS))
    it(`know ${name}`, async () => {
      const { columns, template, labels } = taskOf(name);
      const [example] = await readExamples(files.write('x.jsonl', JSON.stringify(row)), columns, {
        template,
      });
      expect(example!.texts).to.deep.equal(texts);
      expect(labels.kind === 'classes' && labels.names[encodeLabel(example!.label, labels, '')]).to.equal(
        label,
      );
    });

  it('know stsb, a regression', () => {
    const { labels, metrics } = taskOf('stsb');
    expect(encodeLabel('3.8', labels as WholeLabels, '')).to.equal(3.8);
    expect(metrics).to.deep.equal(['pearson', 'spearmanr']);
  });

  it('know arc and openbookqa, instructions and what is to be said', async () => {
    for (const name of ['arc_easy', 'arc_challenge', 'openbookqa']) {
      const { columns, completion, labels } = taskOf(name);
      expect(labels).to.deep.equal({ kind: 'tokens' });
      const row = { instruction: 'I', input: '', output: 'O', answer: 'answer1', idx: 0 };
      const text: [string, string] = [columns.text[0], completion!];
      const [example] = await readExamples(files.write('x.jsonl', JSON.stringify(row)), {
        text,
        label: columns.label,
      });
      expect(example!.texts).to.deep.equal(['I', 'O']);
    }
  });

  it('know copa, a choice between a cause or an effect and another', async () => {
    const { columns, choices, labels } = taskOf('copa');
    const row = { premise: 'P.', choice1: 'A.', choice2: 'B.', question: 'effect', label: 1, idx: 0 };
    const read = (json: object) =>
      readExamples(files.write('x.jsonl', JSON.stringify(json)), columns, { choices });
    const [example] = await read(row);
    expect(example!.choices).to.deep.equal([
      ['P. so', 'A.'],
      ['P. so', 'B.'],
    ]);
    expect(encodeLabel(example!.label, labels as WholeLabels, '')).to.equal(1);
    expect(() => encodeLabel(2, labels as WholeLabels, 'x')).to.throw('x: label 2 is none of 0, 1');
    expect(await failure(() => read({ ...row, question: 'why' }))).to.match(/column "question" holds "why"/);
  });

  it('are measured as in GLUE and SuperGLUE, the first metric choosing', () => {
    expect(taskOf('cola').metrics).to.deep.equal(['matthews_correlation']);
    expect(taskOf('mrpc').metrics).to.deep.equal(['accuracy', 'f1']);
    expect(taskOf('cb').metrics).to.deep.equal(['accuracy', 'macro_f1']);
    expect(usualMetrics({ kind: 'regression' })).to.deep.equal(['pearson', 'spearmanr']);
    expect(usualMetrics({ kind: 'classes', names: ['a', 'b'] })).to.deep.equal(['accuracy']);
  });

  it('are listed to whom asks for another', async () => {
    for (const name of ['record', 'SST2', 'toString', ''])
      expect(await failure(() => taskOf(name))).to.equal(
        `BAD_OPTION there is no task "${name}"; the tasks are cola, mrpc, rte, sst2, stsb, boolq, cb, copa, multirc, wic, winogrande, conll2003, squad, squad_v2, arc_easy, arc_challenge, openbookqa`,
      );
  });
});
