/** Where set-up says what it is doing, one line at a time. */
export type Log = (line: string) => void;

/** All words for people go to stderr, so that a command's stdout holds its result alone. */
export const logToStderr: Log = (line) => void process.stderr.write(`light-peft: ${line}\n`);
