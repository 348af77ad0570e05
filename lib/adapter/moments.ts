import { join } from 'node:path';
import { readHeader, readTensors, safetensorsFile } from '../checkpoint/safetensors.ts';
import { LightPeftError, messageOf } from '../errors.ts';
import type { NamedTensor } from '../native.ts';
import type { WholeFile } from '../whole-file.ts';
import type { Shaped } from './cut.ts';
import { withoutMasks } from './files.ts';

/** Beside the adapter that estimation trained. */
const MOMENTS = 'moments.safetensors';

export const MOMENT_PARTS = ['moment1', 'moment2'] as const;
export type MomentPart = (typeof MOMENT_PARTS)[number];

/** What AdamW remembers of an adapter's gradients, by the adapter's names. */
export interface Moments extends Record<MomentPart, ReadonlyMap<string, Shaped>> {
  /** That they have behind them. */
  steps: number;
}

/** What becomes of a moment where the column of its weight is multiplied: the gradient is divided. */
export const MOMENT_ALONG: Record<MomentPart, (value: number, scale: number) => number> = {
  moment1: (value, scale) => (scale === 0 ? 0 : value / scale),
  moment2: (value, scale) => (scale === 0 ? 0 : value / scale ** 2),
};

export function momentsFile(
  folder: string,
  steps: number,
  moments: Record<MomentPart, NamedTensor[]>,
): WholeFile {
  const tensors = MOMENT_PARTS.flatMap((part) =>
    withoutMasks(moments[part]).map((tensor) => [`${tensor.name}.${part}`, tensor] as const),
  );
  return safetensorsFile(join(folder, MOMENTS), new Map(tensors), { steps: String(steps) });
}

/** @throws {LightPeftError} BAD_STATE: there are none, or they cannot be read */
export async function readMoments(folder: string): Promise<Moments> {
  const file = join(folder, MOMENTS);
  const bad = (why: string, cause?: unknown) => new LightPeftError('BAD_STATE', `${file}: ${why}`, { cause });
  const broken = (error: unknown): never => {
    throw bad(messageOf(error), error);
  };
  const { metadata } = await readHeader(file).catch(broken);
  const tensors = await readTensors(file).catch(broken);
  if (!/^\d+$/.test(metadata['steps'] ?? '')) throw bad('it does not say how many steps it has behind it');
  const steps = Number(metadata['steps']);
  const of = (part: MomentPart) => {
    const ends = [...tensors].filter(([name]) => name.endsWith(`.${part}`));
    return new Map(ends.map(([name, tensor]) => [name.slice(0, -part.length - 1), tensor]));
  };
  return { steps, moment1: of('moment1'), moment2: of('moment2') };
}
