import { LightPeftError } from '../errors.ts';
import { isOfValues, type MetricName } from '../metrics.ts';
import { flagOf, type Reads, readsOf, type Settings } from '../options.ts';
import { type Task, taskOf } from '../tasks.ts';
import type { Columns, Template } from './examples.ts';
import { isTokenwise, type LabelSet, toldAs } from './labels.ts';

/** How a file's rows become examples. */
export interface Reading {
  columns: Columns;
  template?: Template | undefined;
  /** One for each choice, where it is to be told which of some texts it is. */
  choices?: readonly Template[] | undefined;
  /** Whether rows have words with tags, or questions with texts that answer them; undefined: neither is known. */
  told?: 'tags' | 'spans' | undefined;
  /** Undefined: inferred from the training file. */
  labels?: LabelSet | undefined;
  metrics?: readonly MetricName[] | undefined;
  /** With what texts end, where tokens are to be told. */
  end?: number | undefined;
  /** Tokens that two windows over a long text share. */
  stride?: number | undefined;
}

/** The options that say it. */
type Said = Reads & Pick<Settings, 'docStride'>;

const bad = (message: string) => new LightPeftError('BAD_OPTION', message);

/** @throws {LightPeftError} BAD_OPTION: one of these is given, too, and would say nothing */
function checkWithout(settings: Said, option: keyof Said, names: (keyof Said)[]): void {
  const flag = settings[option] === undefined ? `--task ${settings.task}` : flagOf(option);
  const given = names.find((name) => settings[name] !== undefined);
  if (given !== undefined) throw bad(`${flag} and ${flagOf(given)} exclude each other`);
}

/** Prompts and what comes after them. */
function completionOf(settings: Said, completion: string, usual: Columns['text'] | undefined): Reading {
  const [prompt, more] = settings.textColumns ?? usual ?? [];
  if (more !== undefined) throw bad('--completion-column: there is room for one text column before it');
  checkWithout(settings, 'completionColumn', ['choiceColumns', 'labelNames', 'labelColumn']);
  return {
    columns: { text: prompt === undefined ? [completion] : [prompt, completion], label: null },
    labels: { kind: 'tokens' },
    metrics: settings.metric ? [settings.metric] : undefined,
  };
}

/** Of words with tags, by the names of their columns in the `datasets` library where no other is given. */
function tagsOf(settings: Said, task?: Task): Reading {
  const [words, more] = settings.textColumns ?? task?.columns.text ?? ['tokens'];
  if (more !== undefined) throw bad('--tag-column: the words are in one column');
  if (settings.tagColumn !== undefined) checkWithout(settings, 'tagColumn', ['labelColumn']);
  const names = settings.labelNames;
  const usual = task?.columns.label ?? 'ner_tags';
  const label = settings.tagColumn ?? settings.labelColumn ?? usual;
  // Of another column the task's names say nothing.
  const known = label === usual ? task?.labels : undefined;
  return {
    columns: { text: [words!], label },
    told: 'tags',
    labels: names ? { kind: 'tags', names } : known,
    metrics: settings.metric ? [settings.metric] : undefined,
  };
}

/** Of questions and the texts that answer them. */
function spansOf(settings: Said, task?: Task): Reading {
  const text = (settings.textColumns ?? task?.columns.text ?? ['question', 'context']) as Columns['text'];
  if (text.length !== 2)
    throw bad('--answer-column: --text-columns names the questions and the texts that answer them');
  checkWithout(settings, 'answerColumn', ['labelNames']);
  if (settings.answerColumn !== undefined) checkWithout(settings, 'answerColumn', ['labelColumn']);
  return {
    columns: {
      text,
      label: settings.answerColumn ?? settings.labelColumn ?? task?.columns.label ?? 'answers',
    },
    told: 'spans',
    labels: { kind: 'spans' },
    metrics: settings.metric ? [settings.metric] : undefined,
    stride: settings.docStride,
  };
}

/** What options of their own say is told. */
const TOLD_BY = {
  completionColumn: 'tokens',
  choiceColumns: 'choices',
  tagColumn: 'tags',
  answerColumn: 'spans',
} as const satisfies Partial<Record<keyof Reads, LabelSet['kind']>>;

/** @throws {LightPeftError} BAD_OPTION: two things are to be told */
function checkOne(settings: Said, task: Task | undefined): void {
  const given = (Object.keys(TOLD_BY) as (keyof typeof TOLD_BY)[]).filter(
    (name) => settings[name] !== undefined,
  );
  if (given.length > 1) throw bad(`${given.map(flagOf).join(' and ')} exclude each other`);
  const [one] = given;
  if (one && task && isTokenwise(task.labels) && task.labels.kind !== TOLD_BY[one])
    throw bad(`${flagOf(one)} is not for --task ${settings.task!}`);
}

/** They are numbered as a task does that has as many. */
const choicesOf = (count: number, task: Task | undefined): LabelSet =>
  task?.labels.kind === 'choices' && task.labels.count === count ? task.labels : { kind: 'choices', count };

/** What a named task says, where no flag says otherwise. */
export function readingOf(settings: Said): Reading {
  const task = settings.task === undefined ? undefined : taskOf(settings.task);
  checkOne(settings, task);
  const completion = settings.completionColumn ?? task?.completion;
  if (completion !== undefined) return completionOf(settings, completion, task?.columns.text);
  if (settings.tagColumn !== undefined || task?.labels.kind === 'tags') return tagsOf(settings, task);
  if (settings.answerColumn !== undefined || task?.labels.kind === 'spans') return spansOf(settings, task);
  const text = settings.textColumns as Columns['text'] | undefined;
  const named: LabelSet | undefined = settings.labelNames
    ? { kind: 'classes', names: settings.labelNames }
    : isOfValues(settings.metric) && task === undefined
      ? { kind: 'regression' }
      : undefined;
  const choices = settings.choiceColumns?.map((column): Template => {
    const [context, more] = text ?? ['sentence'];
    if (more !== undefined) throw bad('--choice-columns: there is room for one text column beside a choice');
    return [`{${context}}`, `{${column}}`];
  });
  const given = choices && choicesOf(choices.length, task);
  const labels = given ?? (text ? undefined : task?.labels);
  if (labels?.kind === 'choices') checkWithout(settings, 'choiceColumns', ['labelNames']);
  return {
    columns: {
      text: text ?? task?.columns.text ?? ['sentence'],
      label: settings.labelColumn ?? task?.columns.label ?? 'label',
    },
    template: text ? undefined : task?.template,
    choices: choices ?? (text ? undefined : task?.choices),
    labels: given ?? named ?? task?.labels,
    metrics: settings.metric ? [settings.metric] : task?.metrics,
  };
}

/** The same for labels that a model says it has. */
export function readingFor(reading: Reading, labels: LabelSet, settings: Said): Reading {
  if (labels.kind === 'tags' && reading.told === undefined) return { ...tagsOf(settings), labels };
  if (labels.kind === 'spans' && reading.told === undefined) return spansOf(settings);
  return { ...reading, labels };
}

/** What files are read for; undefined: their labels tell. */
export const kindOf = ({ told, labels }: Reading): ReturnType<typeof toldAs> | undefined =>
  told ?? (labels && toldAs(labels));

/** Whether an earlier run's options go with none of these: a task, or an option for another kind of label, says all. */
export function saysAll(reads: Reads, options: Reads): boolean {
  const kind = kindOf(readingOf(reads));
  const others = Object.entries(TOLD_BY).filter(([, told]) => told !== kind);
  return (
    options.task !== undefined || others.some(([name]) => options[name as keyof typeof TOLD_BY] !== undefined)
  );
}

/**
 * How files are read that are to be read as in an earlier run, but for what is said now; to be put over what is said now,
 * of which a column may have another's place.
 */
export function readsAgain(reads: Reads = {}, options: Reads): Reads {
  const now = readsOf(options);
  const before = saysAll(reads, options) ? {} : reads;
  const again = { ...before, ...now };
  const place = (['tagColumn', 'answerColumn'] as const).find((name) => again[name] !== undefined);
  if (place === undefined || again.labelColumn === undefined) return again;
  // They name the same: that of now does. Where both are of now, they are refused.
  const said = [now[place], now.labelColumn].filter((column) => column !== undefined);
  return said.length === 1 ? { ...again, [place]: said[0], labelColumn: undefined } : again;
}
