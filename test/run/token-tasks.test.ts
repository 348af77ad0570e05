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
    expect(await failure({ answerColumn: 'answers', metric: 'accuracy' })).include({ code: 'BAD_OPTION' });
    const estimate = folder.file('spans-estimate');
    expect(await failure({ answerColumn: 'id' })).include({ code: 'BAD_DATA' });
    expect(await errorOf(train(options({ task: 'squad', from: estimate, out: folder.file('x') })))).include({
      code: 'BAD_SCORES',
    });
  });
});
