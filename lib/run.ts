import type { FitProgress } from './fit.ts';

/** What a caller may pass beside the options. */
export interface RunOptions {
  signal?: AbortSignal | undefined;
  onProgress?: ((progress: FitProgress) => void) | undefined;
  /** One line that a person should see: truncated texts, a fresh head. */
  onNote?: ((line: string) => void) | undefined;
}

export const noteTruncation = (run: RunOptions, file: string, truncated: number): void => {
  if (truncated > 0) run.onNote?.(`${truncated} texts of ${file} were longer than --max-length and were cut`);
};
