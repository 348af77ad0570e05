import type { FitProgress } from './fit.ts';

const WIDTH = 24;

const bar = (share: number): string => {
  const full = Math.round(WIDTH * share);
  return '█'.repeat(full) + '░'.repeat(WIDTH - full);
};

/** Progress on standard error: a bar that is drawn again on a terminal, plain lines otherwise. */
export function progressTo(
  stream: Pick<NodeJS.WriteStream, 'isTTY' | 'write'>,
  name: string,
): (progress: FitProgress) => void {
  return ({ step, steps, loss, tokensPerSecond, halvings }) => {
    const speed = `${Math.round(tokensPerSecond)} tokens/s`;
    const text = `step ${step}/${steps}, loss ${loss.toFixed(4)}, ${speed}${halvings > 0 ? `, in ${2 ** halvings} parts` : ''}`;
    if (!stream.isTTY) stream.write(`${name}: ${text}\n`);
    else stream.write(`\r${name} ${bar(step / steps)} ${text}\u001b[K${step === steps ? '\n' : ''}`);
  };
}
