import type { FitProgress } from './fit.ts';

/** Progress on standard error: one line rewritten on a terminal, plain lines otherwise. */
export function progressTo(stream: NodeJS.WriteStream, name: string): (progress: FitProgress) => void {
  return ({ step, steps, loss, tokensPerSecond }) => {
    const rate = `${Math.round(tokensPerSecond)} tokens/s`;
    const text = `${name}: step ${step}/${steps}, loss ${loss.toFixed(4)}, ${rate}`;
    if (!stream.isTTY) stream.write(`${text}\n`);
    else stream.write(`\r${text}\u001b[K${step === steps ? '\n' : ''}`);
  };
}
