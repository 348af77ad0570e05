import { checkMetrics, type MetricName } from '../metrics.ts';
import type { Settings } from '../options.ts';
import { LightPeftError } from '../errors.ts';
import { taskOf, usualMetrics } from '../tasks.ts';
import type { Encoded, Tokenizer } from '../tokenizer.ts';
import type { EncodedExample } from './batches.ts';
import { encodeCompletions, UNTOLD } from './completions.ts';
import { type Columns, type Example, readExamples, type Template } from './examples.ts';
import { encodeLabel, inferLabels, type LabelSet } from './labels.ts';

/** How a file's rows become examples. */
export interface Reading {
  columns: Columns;
  template?: Template | undefined;
  /** One for each choice, where it is to be told which of some texts it is. */
  choices?: readonly Template[] | undefined;
  /** Undefined: inferred from the training file. */
  labels?: LabelSet | undefined;
  metrics?: readonly MetricName[] | undefined;
  /** With what texts end, where tokens are to be told. */
  end?: number | undefined;
}

/** Prompts and what comes after them. */
function completionOf(settings: Settings, completion: string, usual: Columns['text'] | undefined): Reading {
  const [prompt, more] = settings.textColumns ?? usual ?? [];
  const bad = (message: string) => new LightPeftError('BAD_OPTION', message);
  if (more !== undefined) throw bad('--completion-column: there is room for one text column before it');
  if (settings.choiceColumns !== undefined || settings.labelNames !== undefined)
    throw bad('--completion-column: there are no classes and no choices beside it');
  return {
    columns: { text: prompt === undefined ? [completion] : [prompt, completion], label: null },
    labels: { kind: 'tokens' },
  };
}

/** What a named task says, where no flag says otherwise. */
export function readingOf(settings: Settings): Reading {
  const task = settings.task === undefined ? undefined : taskOf(settings.task);
  const completion = settings.completionColumn ?? task?.completion;
  if (completion !== undefined) return completionOf(settings, completion, task?.columns.text);
  const text = settings.textColumns as Columns['text'] | undefined;
  const named: LabelSet | undefined = settings.labelNames && { kind: 'classes', names: settings.labelNames };
  const choices = settings.choiceColumns?.map((column): Template => {
    const [context, more] = text ?? ['sentence'];
    if (more !== undefined)
      throw new LightPeftError(
        'BAD_OPTION',
        '--choice-columns: there is room for one text column beside a choice',
      );
    return [`{${context}}`, `{${column}}`];
  });
  const given: LabelSet | undefined = choices && { kind: 'choices', count: choices.length };
  if (given && named)
    throw new LightPeftError('BAD_OPTION', '--choice-columns and --label-names exclude each other');
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

/** The sequences of an example's choices, one behind the other. */
const inOne = (parts: readonly Encoded[]): Encoded & { lengths: number[] } => ({
  ids: Int32Array.from(parts.flatMap(({ ids }) => [...ids])),
  typeIds: Int32Array.from(parts.flatMap(({ typeIds }) => [...typeIds])),
  truncated: parts.some(({ truncated }) => truncated),
  lengths: parts.map(({ ids }) => ids.length),
});

/** A file's examples, tokenized. */
export interface Dataset {
  examples: EncodedExample[];
  labels: LabelSet;
  metrics: readonly MetricName[];
  /** How many texts were cut to the longest length allowed. */
  truncated: number;
  maxLength: number;
}

/** Of which tokens are to be told. */
async function readCompletions(
  file: string,
  { columns, end }: Reading,
  tokenizer: Tokenizer,
  maxLength: number,
): Promise<Dataset> {
  const examples = await readExamples(file, columns, { labelOptional: true });
  const encoded = await encodeCompletions(
    examples.map(({ texts }) => texts),
    tokenizer,
    { maxLength, end },
  );
  const empty = encoded.findIndex(({ ids }) => ids.length === 0);
  if (empty >= 0) throw new LightPeftError('BAD_DATA', `${file}, example ${empty}: the text has no token`);
  const untold = encoded.filter(({ tokenLabels }) => tokenLabels.every((label) => label === UNTOLD)).length;
  if (untold === encoded.length)
    throw new LightPeftError(
      'BAD_DATA',
      `${file}: no token is left to be told; prompts may be longer than ${maxLength} tokens`,
    );
  return {
    labels: { kind: 'tokens' },
    metrics: ['exact_match', 'perplexity'],
    maxLength,
    truncated: encoded.filter(({ truncated }) => truncated).length,
    examples: encoded.map((tokens, i) => ({ ...tokens, idx: examples[i]!.idx, label: NaN })),
  };
}

export async function readDataset(
  file: string,
  reading: Reading,
  tokenizer: Tokenizer,
  { maxLength, unlabelled = false }: { maxLength: number; unlabelled?: boolean },
): Promise<Dataset> {
  if (reading.labels?.kind === 'tokens') return readCompletions(file, reading, tokenizer, maxLength);
  const { columns, template, choices } = reading;
  const examples: Example[] = await readExamples(file, columns, {
    ...{ template, choices, labelOptional: unlabelled },
  });
  const labels = reading.labels ?? inferLabels(examples);
  if ((labels.kind === 'choices' ? labels.count : undefined) !== choices?.length)
    throw new LightPeftError(
      'BAD_OPTION',
      `${file}: the labels tell choices apart; --task or --choice-columns must say which`,
    );
  const metrics = reading.metrics ?? usualMetrics(labels);
  checkMetrics(metrics, labels);
  const sequences = examples.flatMap((example) => example.choices ?? [example.texts]);
  const all = await tokenizer.encode(sequences, { maxLength });
  const each = choices?.length ?? 1;
  const encoded = examples.map((_, i) => (each === 1 ? all[i]! : inOne(all.slice(i * each, (i + 1) * each))));
  const empty = encoded.findIndex(({ ids }) => ids.length === 0);
  if (empty >= 0) throw new LightPeftError('BAD_DATA', `${file}, example ${empty}: the text has no token`);
  return {
    labels,
    metrics,
    maxLength,
    truncated: encoded.filter(({ truncated }) => truncated).length,
    examples: encoded.map((tokens, i) => ({
      ...tokens,
      idx: examples[i]!.idx,
      label: encodeLabel(examples[i]!.label, labels, `${file}, example ${i}`, {
        unlabelled: unlabelled ? 'allow' : 'refuse',
      }),
    })),
  };
}
