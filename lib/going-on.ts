import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { PEFT_CONFIG } from './adapter/files.ts';
import { type AdapterInfo, readInfoIfAny } from './adapter/info.ts';
import { readsAgain, saysAll } from './data/reading.ts';
import { LightPeftError } from './errors.ts';
import { type Cut, flagOf, type Options, type Reads } from './options.ts';
import { cutAgain } from './plan-options.ts';
import { purposeOf, SCORES } from './plan/estimate-file.ts';
import { readWhole } from './result-folder.ts';
import type { RunOptions } from './run.ts';

/** How the texts of an estimate were read, and by which names its head has learned their labels, but for what options say. */
function readAgain({ reads, labels }: AdapterInfo, options: Options): Reads {
  const again = readsAgain(reads, options);
  // A task has its own, and other labels have others.
  const known = labels && again.task === undefined && !saysAll(reads, options);
  return { ...(known && { labelNames: labels }), ...again };
}

/** What of a cut the options do not say. */
const lessOf = (options: Options, cut: Cut): (keyof Cut)[] =>
  (Object.keys(cut) as (keyof Cut)[]).filter((name) => options[name] === undefined);

/**
 * Options with what an estimate was made with: its adapter goes on with its rank, scale and places, whatever the options
 * say; its texts are read as they were, and what is cut is what it was for, but for what these say.
 * @throws {LightPeftError} BAD_SCORES: there is no estimate
 */
export async function goingOn(from: string, options: Options, { onNote }: RunOptions): Promise<Options> {
  if (!existsSync(from)) throw new LightPeftError('BAD_SCORES', `--from: ${from}: no such folder`);
  const scores = join(from, SCORES);
  const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
  const { purpose, info } = await readWhole(from, PEFT_CONFIG, async () => ({
    purpose: await purposeOf(scores),
    info: await readInfoIfAny(from),
  }));
  if (!existsSync(scores))
    throw new LightPeftError('BAD_SCORES', `--from: ${from} is no estimate, it has no ${SCORES}`);
  const cut = cutAgain(purpose.cut, options);
  const again = lessOf(options, cut).map((name) => `${flagOf(name)} ${String(cut[name]) || "''"}`);
  if (again.length > 0) onNote?.(`cuts as was estimated for: ${again.join(' ')}`);
  if (!info) return { ...(given as Options), ...cut };
  const { maxLength, docStride, r, alpha, targetModules } = info;
  const lengths = { maxLength, ...(docStride !== undefined && { docStride }) };
  const adapter = { loraR: r, loraAlpha: alpha, targetModules };
  return { ...lengths, ...(given as Options), ...readAgain(info, options), ...cut, ...adapter };
}
