import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { type AdapterInfo, readInfoIfAny } from './adapter/info.ts';
import { readsAgain } from './data/reading.ts';
import { LightPeftError } from './errors.ts';
import type { Options } from './options.ts';
import { SCORES } from './plan/estimate-file.ts';

/** How the texts of an estimate were read, where no option says it. */
const readAgain = ({ reads, maxLength, docStride }: AdapterInfo, options: Options): Partial<Options> => ({
  maxLength,
  ...(docStride !== undefined && { docStride }),
  ...readsAgain(reads, options),
});

/**
 * Options with what an estimate was made with: its adapter goes on with its rank, scale and places, whatever the options
 * say, and its texts are read as they were, but for what these say.
 * @throws {LightPeftError} BAD_SCORES: there is no estimate
 */
export async function goingOn(from: string, options: Options): Promise<Options> {
  if (!existsSync(join(from, SCORES)))
    throw new LightPeftError('BAD_SCORES', `--from: ${from} is no estimate, it has no ${SCORES}`);
  const info = await readInfoIfAny(from);
  if (!info) return options;
  const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
  const { r, alpha, targetModules } = info;
  return { ...readAgain(info, options), ...(given as Options), loraR: r, loraAlpha: alpha, targetModules };
}
