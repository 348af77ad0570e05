import type { Columns, Template } from './data/examples.ts';
import type { LabelSet } from './data/labels.ts';
import { LightPeftError } from './errors.ts';
import type { MetricName } from './metrics.ts';

/** What is known about a data set by its name. Columns and class order are those of the Hugging Face data sets. */
export interface Task {
  columns: Columns;
  /** In place of the text columns, where these are not fed as they are. */
  template?: Template;
  /** One for each choice. */
  choices?: readonly Template[];
  /** The column of what is to be said after the text. */
  completion?: string;
  labels: LabelSet;
  /** The first is the one by which the best epoch is chosen. */
  metrics: readonly MetricName[];
}

const classes = (...names: string[]): LabelSet => ({ kind: 'classes', names });
const columns = (...text: Columns['text']): Columns => ({ text, label: 'label' });

const TASKS: Record<string, Task> = {
  // GLUE
  cola: {
    columns: columns('sentence'),
    labels: classes('unacceptable', 'acceptable'),
    metrics: ['matthews_correlation'],
  },
  mrpc: {
    columns: columns('sentence1', 'sentence2'),
    labels: classes('not_equivalent', 'equivalent'),
    metrics: ['accuracy', 'f1'],
  },
  rte: {
    columns: columns('sentence1', 'sentence2'),
    labels: classes('entailment', 'not_entailment'),
    metrics: ['accuracy'],
  },
  sst2: {
    columns: columns('sentence'),
    labels: classes('negative', 'positive'),
    metrics: ['accuracy'],
  },
  stsb: {
    columns: columns('sentence1', 'sentence2'),
    labels: { kind: 'regression' },
    metrics: ['pearson', 'spearmanr'],
  },
  // SuperGLUE
  boolq: {
    columns: columns('question', 'passage'),
    labels: classes('False', 'True'),
    metrics: ['accuracy'],
  },
  cb: {
    columns: columns('premise', 'hypothesis'),
    labels: classes('entailment', 'contradiction', 'neutral'),
    metrics: ['accuracy', 'macro_f1'],
  },
  copa: {
    columns: columns('premise'),
    choices: [
      ['{premise} {question:cause=because,effect=so}', '{choice1}'],
      ['{premise} {question:cause=because,effect=so}', '{choice2}'],
    ],
    labels: { kind: 'choices', count: 2 },
    metrics: ['accuracy'],
  },
  multirc: {
    columns: columns('paragraph', 'question'),
    template: ['{paragraph}', '{question} {answer}'],
    labels: classes('False', 'True'),
    metrics: ['f1', 'accuracy'],
  },
  wic: {
    columns: columns('sentence1', 'sentence2'),
    template: ['{word}: {sentence1}', '{word}: {sentence2}'],
    labels: classes('False', 'True'),
    metrics: ['accuracy'],
  },
  // Of two words for a blank the right one (Sakaguchi et al. 2020): the text before it, and the word with what follows
  winogrande: {
    columns: { text: ['sentence'], label: 'answer' },
    choices: [
      ['{sentence<_}', '{option1}{sentence>_}'],
      ['{sentence<_}', '{option2}{sentence>_}'],
    ],
    labels: { kind: 'choices', count: 2, first: 1 },
    metrics: ['accuracy'],
  },
  // Words with tags, and questions that a text answers, as the Hugging Face data sets of these names have them
  conll2003: {
    columns: { text: ['tokens'], label: 'ner_tags' },
    labels: {
      kind: 'tags',
      names: ['O', ...['PER', 'ORG', 'LOC', 'MISC'].flatMap((kind) => [`B-${kind}`, `I-${kind}`])],
    },
    metrics: ['f1', 'precision', 'recall', 'accuracy'],
  },
  ...Object.fromEntries(
    ['squad', 'squad_v2'].map((name): [string, Task] => [
      name,
      {
        columns: { text: ['question', 'context'], label: 'answers' },
        labels: { kind: 'spans' },
        metrics: ['exact_match', 'f1'],
      },
    ]),
  ),
  // Questions with answers to choose from, as instructions (LLM-Adapters, Hu et al. 2023)
  ...Object.fromEntries(
    ['arc_easy', 'arc_challenge', 'openbookqa'].map((name): [string, Task] => [
      name,
      {
        columns: { text: ['instruction'], label: null },
        completion: 'output',
        labels: { kind: 'tokens' },
        metrics: ['exact_match', 'perplexity'],
      },
    ]),
  ),
};

export const TASK_NAMES: readonly string[] = Object.keys(TASKS);

/**
 * The task of that name.
 * @throws {LightPeftError} BAD_OPTION: there is none
 */
export const taskOf = (name: string): Task => {
  if (Object.hasOwn(TASKS, name)) return TASKS[name]!;
  throw new LightPeftError(
    'BAD_OPTION',
    `there is no task "${name}"; the tasks are ${Object.keys(TASKS).join(', ')}`,
  );
};

/** For data that is no named task's. */
export const usualMetrics = (labels: LabelSet): readonly MetricName[] => {
  switch (labels.kind) {
    case 'regression':
      return ['pearson', 'spearmanr'];
    case 'tags':
      // Of tags that begin no entity, such as parts of speech, entities say nothing.
      return labels.names.some((name) => /^[BI]-/.test(name))
        ? ['f1', 'precision', 'recall', 'accuracy']
        : ['accuracy'];
    case 'spans':
      return ['exact_match', 'f1'];
    default:
      return ['accuracy'];
  }
};
