import { readFileSync } from 'node:fs';
import { expect } from 'chai';
import { estimate, evaluate, type Options, predict, train, vanillaTrain } from '../../lib/index.ts';
import { ENCODER, errorOf, Folder } from './bench.ts';

const CITIES = ['Paris', 'London', 'Berlin', 'Madrid', 'Rome'];
const NAMES = ['Anna', 'Peter', 'Mary', 'John', 'Alice'];
const VERBS = ['visited', 'left', 'loved', 'saw'];

/** Who was where; each city and name is one word. */
const rows = Array.from({ length: 80 }, (_, i) => {
  const [name, verb, city] = [NAMES[i % 5]!, VERBS[i % 4]!, CITIES[(i * 3 + Math.floor(i / 5)) % 5]!];
  const context = `Last year ${name} ${verb} the city of ${city} again.`;
  return {
    tokens: context.replace('.', ' .').split(' '),
    ner_tags: ['O', 'O', 'B-PER', 'O', 'O', 'O', 'O', 'B-LOC', 'O', 'O'],
    id: `q${i}`,
    question: i % 2 === 0 ? 'Which city?' : 'Which person?',
    context,
    answers: {
      text: [i % 2 === 0 ? city : name],
      answer_start: [context.indexOf(i % 2 === 0 ? city : name)],
    },
  };
});

describe('tags of words and answers in texts', () => {
  const folder = new Folder();
  after(() => folder.remove());
  const file = () => folder.write('rows.jsonl', rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
  const options = (changes: Partial<Options>): Options => ({
    ...{ model: ENCODER, trainFile: file(), validationFile: file(), batchSize: 16, learningRate: 3e-3 },
    ...{ epochs: 20, threads: 2, seed: 2 },
    ...changes,
  });
  const peftConfig = (name: string) =>
    JSON.parse(readFileSync(folder.file(name, 'adapter_config.json'), 'utf8')) as Record<string, unknown>;

  it('tags are learned, whole and pruned, and told of each word', async () => {
    const tags = (changes: Partial<Options>) =>
      options({ textColumns: ['tokens'], tagColumn: 'ner_tags', ...changes });
    const vanilla = await vanillaTrain(tags({ out: folder.file('tags') }));
    expect(vanilla.metrics).deep.equal({ f1: 1, precision: 1, recall: 1, accuracy: 1 });
    expect(peftConfig('tags')).deep.include({
      task_type: 'TOKEN_CLS',
      modules_to_save: ['classifier', 'score'],
    });
    const again = await evaluate({ model: ENCODER, adapter: folder.file('tags'), validationFile: file() });
    expect(again.metrics).deep.equal(vanilla.metrics);
    const [first] = await predict({ model: ENCODER, adapter: folder.file('tags'), input: file() });
    expect(first).deep.equal({ idx: 0, tags: rows[0]!.ner_tags });
    await estimate(tags({ maxSteps: 30, out: folder.file('tags-estimate') }));
    const light = await train(tags({ from: folder.file('tags-estimate'), out: folder.file('tags-light') }));
    expect(light.metrics['f1']).above(0.95);
    const { labels } = JSON.parse(readFileSync(folder.file('tags-estimate', 'light_peft.json'), 'utf8')) as {
      labels: string[];
    };
    const reordered = { labelNames: labels.toReversed(), from: folder.file('tags-estimate') };
    expect(await errorOf(train(tags({ ...reordered, out: folder.file('never') })))).include({
      code: 'BAD_OPTION',
    });
    const same = await evaluate({
      model: ENCODER,
      adapter: folder.file('tags-light'),
      validationFile: file(),
    });
    expect(same.metrics).deep.equal(light.metrics);
  });

  it('answers are found, also by a model that was trained itself', async () => {
    const spans = (changes: Partial<Options>) => options({ task: 'squad', ...changes });
    const vanilla = await vanillaTrain(spans({ out: folder.file('spans') }));
    expect(vanilla.metrics).deep.equal({ exact_match: 1, f1: 1 });
    expect(peftConfig('spans')).deep.include({ task_type: 'QUESTION_ANS', modules_to_save: ['qa_outputs'] });
    const [first, second] = await predict({ model: ENCODER, adapter: folder.file('spans'), input: file() });
    expect(first).deep.equal({ idx: 0, id: 'q0', answer: rows[0]!.answers.text[0] });
    expect(second).deep.equal({ idx: 1, id: 'q1', answer: rows[1]!.answers.text[0] });
    const whole = { peft: 'none' as const, learningRate: 3e-4, out: folder.file('answering') };
    const full = await vanillaTrain(spans(whole));
    expect(full.metrics['f1']).above(0.9);
    // The folder says what it is for.
    const again = await evaluate({ model: folder.file('answering'), validationFile: file() });
    expect(again.metrics).deep.equal(full.metrics);
  });

  it('nothing need be known of what is to be told', async () => {
    const bare = rows.map(({ tokens, id, question, context }) =>
      JSON.stringify({ tokens, id, question, context }),
    );
    const input = folder.write('bare.jsonl', bare.join('\n'));
    const answers = await predict({ model: ENCODER, adapter: folder.file('spans'), input });
    expect(answers[3]).deep.equal({ idx: 3, id: 'q3', answer: rows[3]!.answers.text[0] });
    const tags = await predict({ model: ENCODER, adapter: folder.file('tags'), input });
    expect(tags[3]).deep.equal({ idx: 3, tags: rows[3]!.ner_tags });
  });

  it('texts are as long as they were in training, and words of -100 are not told', async () => {
    const path = folder.write(
      'untold.jsonl',
      rows
        .map((row, i) =>
          JSON.stringify({ ...row, ner_tags: row.tokens.map((_, w) => (w === 2 ? i % 2 : -100)) }),
        )
        .join('\n'),
    );
    const data = { trainFile: path, validationFile: path, textColumns: ['tokens'], tagColumn: 'ner_tags' };
    const report = await vanillaTrain(
      options({ ...data, maxLength: 6, maxSteps: 2, out: folder.file('short') }),
    );
    const again = await evaluate({ model: ENCODER, adapter: folder.file('short'), validationFile: path });
    expect(again.metrics).deep.equal(report.metrics);
    const [first] = (await predict({ model: ENCODER, adapter: folder.file('short'), input: path })) as {
      tags: unknown[];
    }[];
    expect(first!.tags).lengthOf(10);
    expect(first!.tags.at(-1)).equal(null);
    const nothing = folder.write(
      'nothing.jsonl',
      JSON.stringify({ tokens: ['a', 'b'], ner_tags: [-100, -100] }),
    );
    expect(
      await errorOf(
        vanillaTrain(options({ ...data, trainFile: nothing, labelNames: ['O', 'X'], out: folder.file('y') })),
      ),
    ).include({ code: 'BAD_DATA' });
  });

  it('a question may have no answer where some of those learned from have none', async () => {
    const some = rows.map((row, i) =>
      i % 4 ? row : { ...row, question: 'Which river?', answers: { text: [], answer_start: [] } },
    );
    const path = folder.write('some.jsonl', some.map((row) => JSON.stringify(row)).join('\n'));
    const asked = { task: 'squad_v2', trainFile: path, validationFile: path };
    const report = await vanillaTrain(options({ ...asked, out: folder.file('some') }));
    expect(report.metrics['exact_match']).above(0.95);
    const bare = some.map(({ id, question, context }) => JSON.stringify({ id, question, context }));
    const input = folder.write('bare.jsonl', bare.join('\n'));
    const [first] = await predict({ model: ENCODER, adapter: folder.file('some'), input });
    expect(first).deep.equal({ idx: 0, id: 'q0', answer: '' });
  });

  it('a head for something else is not taken, one for the same names is, in their order', async () => {
    const names = ['B-LOC', 'O', 'B-PER'];
    const tags = (changes: Partial<Options>) =>
      options({
        textColumns: ['tokens'],
        tagColumn: 'ner_tags',
        peft: 'none',
        learningRate: 3e-4,
        ...changes,
      });
    await vanillaTrain(tags({ labelNames: names, out: folder.file('tagger') }));
    const model = folder.file('tagger');
    const config = JSON.parse(readFileSync(folder.file('tagger', 'config.json'), 'utf8')) as Record<
      string,
      unknown
    >;
    expect(config).deep.include({
      architectures: ['RobertaForTokenClassification'],
      id2label: { 0: 'B-LOC', 1: 'O', 2: 'B-PER' },
    });
    expect((await evaluate({ model, validationFile: file() })).metrics['f1']).equal(1);
    const more = await vanillaTrain(
      tags({ model, maxSteps: 1, learningRate: 0, out: folder.file('tagger-again') }),
    );
    expect(more.metrics['f1']).equal(1);
    const classes = rows.map(({ context }, i) => JSON.stringify({ sentence: context, label: i % 3 }));
    const path = folder.write('classes.jsonl', classes.join('\n'));
    const notes: string[] = [];
    const whole = { model, trainFile: path, validationFile: path, maxSteps: 1, peft: 'none' as const };
    await vanillaTrain(options({ ...whole, out: folder.file('classifier') }), {
      onNote: (note) => notes.push(note),
    });
    expect(notes.join('\n')).match(/has no task head/);
    const written = readFileSync(folder.file('classifier', 'config.json'), 'utf8');
    expect(written).match(/RobertaForSequenceClassification/);
    const other = errorOf(
      evaluate({ model: ENCODER, adapter: folder.file('tags'), validationFile: path, task: 'cb' }),
    );
    expect((await other).message).match(/tells tags, not classes/);
  });

  it('a text chosen for a blank is learned', async () => {
    const blanks = rows.map(({ context }, i) => ({
      sentence: context.replace(
        CITIES.find((city) => context.includes(city))!,
        '_',
      ),
      ...{ option1: i % 3 ? NAMES[i % 5]! : CITIES[i % 5]!, option2: i % 3 ? CITIES[i % 5]! : NAMES[i % 5]! },
      answer: i % 3 ? '2' : '1',
    }));
    const path = folder.write('blanks.jsonl', blanks.map((row) => `${JSON.stringify(row)}\n`).join(''));
    const task = { task: 'winogrande', trainFile: path, validationFile: path, out: folder.file('blanks') };
    const report = await vanillaTrain(options(task));
    expect(report.metrics['accuracy']).above(0.9);
    const told = await predict({
      model: ENCODER,
      adapter: folder.file('blanks'),
      input: path,
      task: 'winogrande',
    });
    const right = told.filter((one, i) => 'label' in one && String(one.label) === blanks[i]!.answer).length;
    expect(right / told.length).equal(report.metrics['accuracy']);
    expect(peftConfig('blanks')).deep.include({ task_type: null, modules_to_save: ['classifier', 'pooler'] });
  });

  it('what does not fit is refused', async () => {
    const failure = (changes: Partial<Options>) =>
      errorOf(vanillaTrain(options({ out: folder.file('bad'), ...changes })));
    expect((await failure({ tagColumn: 'ner_tags', answerColumn: 'answers' })).message).match(
      /exclude each other/,
    );
    expect(await failure({ tagColumn: 'context' })).include({ code: 'BAD_DATA' });
    expect(await failure({ tagColumn: 'ner_tags', labelNames: ['O', 'B-PER'] })).include({
      code: 'BAD_LABEL',
    });
    for (const [flags, says] of [
      [
        { tagColumn: 'ner_tags', labelColumn: 'other' },
        /^--tag-column and --label-column exclude each other$/,
      ],
      [{ answerColumn: 'answers', labelNames: ['a', 'b'] }, /^--answer-column and --label-names exclude/],
      [{ completionColumn: 'id', labelColumn: 'other' }, /^--completion-column and --label-column exclude/],
    ] as const)
      expect((await failure(flags as Partial<Options>)).message).match(says);
    expect(await failure({ answerColumn: 'answers', metric: 'accuracy' })).include({ code: 'BAD_OPTION' });
    const estimate = folder.file('spans-estimate');
    expect(await failure({ answerColumn: 'id' })).include({ code: 'BAD_DATA' });
    expect(await errorOf(train(options({ task: 'squad', from: estimate, out: folder.file('x') })))).include({
      code: 'BAD_SCORES',
    });
  });
});
