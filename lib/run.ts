import { type LabelSet, listed } from './data/labels.ts';
import type { FitProgress } from './fit.ts';

/** What a caller may pass beside the options. */
export interface RunOptions {
  signal?: AbortSignal | undefined;
  onProgress?: ((progress: FitProgress) => void) | undefined;
  /** One line that a person should see: truncated texts, a fresh head. */
  onNote?: ((line: string) => void) | undefined;
}

/** What the labels of a file were found to be: a word that is misspelt is a class of its own. */
export function noteNames(run: RunOptions, labels: LabelSet): void {
  if (!('names' in labels)) return;
  const shown = labels.names.map((name) => (name.trim() === name ? name : JSON.stringify(name)));
  run.onNote?.(`${labels.names.length} ${labels.kind}: ${listed(shown)}`);
}

export const noteTruncation = (
  run: RunOptions,
  file: string,
  { truncated, examples, maxLength }: { truncated: number; examples: readonly unknown[]; maxLength: number },
): void => {
  if (truncated > 0)
    run.onNote?.(
      `${truncated} of ${examples.length} texts in ${file} were too long and were cut to ${maxLength} tokens`,
    );
};
