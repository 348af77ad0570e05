import { LightPeftError } from './errors.ts';
import { native } from './native.ts';

/** Where models lie and are computed if nothing says otherwise: LIGHT_PEFT_DEVICE, or the CPU. */
export const usualDevice = (): string => process.env['LIGHT_PEFT_DEVICE'] || 'cpu';

const told = (count: number): string =>
  count === 0
    ? 'this build finds no GPU (docs/gpu.md says how to build with CUDA)'
    : `there ${count === 1 ? 'is 1 GPU' : `are ${count} GPUs`}, cuda:0 the first`;

/**
 * `cpu`, or `cuda:N` of a GPU that is there.
 *
 * @throws {LightPeftError} BAD_OPTION
 */
export function deviceOf(name: string): string {
  if (name === 'cpu') return name;
  const number = /^cuda(?::(\d{1,3}))?$/.exec(name);
  if (!number) throw new LightPeftError('BAD_OPTION', `device ${name} is neither cpu nor cuda:N`);
  const index = Number(number[1] ?? 0);
  const { cuda } = native().machine();
  if (index >= cuda) throw new LightPeftError('BAD_OPTION', `device ${name}: ${told(cuda)}`);
  return `cuda:${index}`;
}

/** The most memory that has been in use at once: on a GPU that of tensors, on the CPU the process's. */
export function peakMemoryOf(device: string): number {
  const index = /^cuda:(\d+)$/.exec(device)?.[1];
  return index === undefined
    ? process.resourceUsage().maxRSS * 1024
    : native().deviceMemoryPeak(Number(index));
}
