import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { type AdapterInfo, readInfoIfAny } from './adapter/info.ts';
import { TOLD_BY } from './data/reading.ts';
import { LightPeftError } from './errors.ts';
import type { Options } from './options.ts';
import { SCORES } from './plan/estimate-file.ts';

const TELLING = Object.keys(TOLD_BY) as (keyof typeof TOLD_BY)[];

/** Options that say how files are read. */
const READING = [...(['task', 'textColumns', 'labelColumn', 'labelNames'] as const), ...TELLING];

/** How the texts of an estimate were read, where no option says it. */
function readAgain(
  { columns, tells, choices, template, maxLength, docStride }: AdapterInfo,
  options: Options,
): Partial<Options> {
  const lengths = { maxLength, ...(docStride !== undefined && { docStride }) };
  // What choices are made of has no flags, nor has a template.
  if (choices || template || READING.some((name) => options[name] !== undefined)) return lengths;
  const text = tells ? columns.slice(0, -1) : columns;
  const telling = TELLING.find((name) => TOLD_BY[name] === tells);
  return {
    ...lengths,
    ...(text.length > 0 && { textColumns: text }),
    ...(telling && { [telling]: columns.at(-1) }),
  };
}

/**
 * Options with what an estimate was made with: its adapter goes on with its rank, scale and places, whatever the options
 * say, and its texts are read as they were, where these say nothing.
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
