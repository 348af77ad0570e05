/** Every way in which work can be refused or fail; `LightPeftError.code` is one of these. */
export type ErrorCode =
  | 'BAD_OPTION' // a flag or option is unknown, malformed or out of range
  | 'BAD_CONFIG' // config.json is missing, malformed or contradicts itself
  | 'UNSUPPORTED_MODEL' // a model_type or a setting of it that the engine does not have
  | 'NOT_A_FOLDER' // the checkpoint is not a local folder (a Hub id, say)
  | 'BAD_CHECKPOINT' // weights are missing, truncated, misshapen or unknown
  | 'BAD_TOKENIZER' // tokenizer files are missing or cannot be built
  | 'BAD_DATA' // a data file cannot be read, or a row lacks a column
  | 'EMPTY_DATA' // a data file holds no example
  | 'BAD_LABEL' // a label is outside the declared range
  | 'BAD_ADAPTER' // an adapter folder cannot be read or does not fit its base
  | 'BAD_PLAN' // a Plan is malformed or was made for another base
  | 'BAD_SCORES' // a Scores file is malformed or was made for another base
  | 'BAD_STATE' // a training checkpoint cannot be resumed
  | 'NOT_FINITE' // the loss or a gradient became NaN or infinite
  | 'ABORTED' // the caller's AbortSignal fired, or Ctrl-C
  | 'DISPOSED' // a handle was used after dispose()
  | 'OUT_OF_MEMORY' // of the processor's, or a GPU's
  | 'DEVICE_FAILED' // a GPU or its driver reported an error
  | 'UNSUPPORTED_CPU' // the processor lacks AVX2
  | 'NATIVE_MISSING' // the addon is not built
  | 'SETUP_FAILED' // LibTorch or the addon could not be obtained
  | 'IO' // the file system said no
  | 'INTERNAL'; // a defect of this library

/** An error with a stable `code`; `message` is one line that says what to do where that is known. */
export class LightPeftError extends Error {
  override readonly name = 'LightPeftError';
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** What an unknown thrown value says, on one line. */
export const messageOf = (error: unknown): string =>
  (error instanceof Error ? error.message : String(error)).split('\n')[0] ?? '';
