import { checkMetrics, type MetricName } from '../metrics.ts';
import type { Settings } from '../options.ts';
import { LightPeftError } from '../errors.ts';
import { taskOf, usualMetrics } from '../tasks.ts';
import type { Tokenizer } from '../tokenizer.ts';
import type { EncodedExample } from './batches.ts';
import { type Columns, type Example, readExamples, type Template } from './examples.ts';
import { encodeLabel, inferLabels, type LabelSet } from './labels.ts';

/** How a file's rows become examples. */
export interface Reading {
  columns: Columns;
  template?: Template | undefined;
  /** Undefined: inferred from the training file. */
  labels?: LabelSet | undefined;
  metrics?: readonly MetricName[] | undefined;
}

/** What a named task says, where no flag says otherwise. */
export function readingOf(settings: Settings): Reading {
  const task = settings.task === undefined ? undefined : taskOf(settings.task);
  const text = settings.textColumns as Columns['text'] | undefined;
  const named: LabelSet | undefined = settings.labelNames && { kind: 'classes', names: settings.labelNames };
  return {
    columns: {
      text: text ?? task?.columns.text ?? ['sentence'],
      label: settings.labelColumn ?? task?.columns.label ?? 'label',
    },
    template: text ? undefined : task?.template,
    labels: named ?? task?.labels,
    metrics: settings.metric ? [settings.metric] : task?.metrics,
  };
}

/** A file's examples, tokenized. */
export interface Dataset {
  examples: EncodedExample[];
  labels: LabelSet;
  metrics: readonly MetricName[];
  /** How many texts were cut to the longest length allowed. */
  truncated: number;
  maxLength: number;
}

export async function readDataset(
  file: string,
  reading: Reading,
  tokenizer: Tokenizer,
  { maxLength, unlabelled = false }: { maxLength: number; unlabelled?: boolean },
): Promise<Dataset> {
  const { columns, template } = reading;
  const examples: Example[] = await readExamples(file, columns, { template, labelOptional: unlabelled });
  const labels = reading.labels ?? inferLabels(examples);
  const metrics = reading.metrics ?? usualMetrics(labels);
  checkMetrics(metrics, labels);
  const encoded = await tokenizer.encode(
    examples.map(({ texts }) => texts),
    { maxLength },
  );
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
