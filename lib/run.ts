import type { FitProgress } from './fit.ts';

/** What a caller may pass beside the options. */
export interface RunOptions {
  signal?: AbortSignal | undefined;
  onProgress?: ((progress: FitProgress) => void) | undefined;
  /** One line that a person should see: truncated texts, a fresh head. */
  onNote?: ((line: string) => void) | undefined;
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
