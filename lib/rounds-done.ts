import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { LightPeftError } from './errors.ts';
import { needed, type Settings } from './options.ts';
import { differenceOf, type Identity, IDENTITY, optionsIdentity, STATE } from './training-state.ts';
import { removeFile } from './result-folder.ts';
import { writeWhole } from './whole-file.ts';

const FILE = 'rounds.json';
const SCHEMA = z.strictObject({ identity: IDENTITY, count: z.int().nonnegative() });

/** What it says, or nothing. */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** How many rounds of an estimation are over, and of which; a file in `out` while it is under way. */
export class RoundsDone {
  private constructor(
    private readonly file: string,
    private readonly identity: Identity,
    public count: number,
  ) {}

  /** @throws {LightPeftError} BAD_STATE: there is nothing to resume, or it is another run's */
  static async of(out: string, settings: Settings): Promise<RoundsDone> {
    const file = join(out, FILE);
    const data = createHash('sha256').update(await readFile(needed(settings, 'trainFile')).catch(() => ''));
    const identity = { ...optionsIdentity(settings), data: data.digest('hex') };
    const bad = (why: string) => new LightPeftError('BAD_STATE', `${file}: ${why}`);
    if (!settings.resume) return new RoundsDone(file, identity, 0);
    const text = await readFile(file, 'utf8').catch(() => 'null');
    const known = SCHEMA.safeParse(parsed(text));
    if (!known.success)
      throw bad(
        existsSync(join(out, STATE))
          ? 'the run to resume has no rounds'
          : 'there is no interrupted run to resume; one that has ended leaves none',
      );
    const other = differenceOf(known.data.identity, identity);
    if (other !== undefined) throw bad(other);
    return new RoundsDone(file, identity, known.data.count);
  }

  /** Takes note of those that are over. */
  write(): Promise<void> {
    return writeWhole(this.file, [JSON.stringify({ identity: this.identity, count: this.count })]);
  }

  async add(): Promise<void> {
    this.count++;
    await this.write();
  }

  remove(): Promise<void> {
    return removeFile(this.file);
  }
}
