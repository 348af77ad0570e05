import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { LightPeftError, messageOf } from '../errors.ts';

/**
 * After which tokens a text ends: what generation_config.json says, or config.json; the first is the one to write.
 * @throws {LightPeftError} BAD_CONFIG: one of these is malformed
 */
export async function endsOf(folder: string): Promise<number[]> {
  for (const name of ['generation_config.json', 'config.json']) {
    const file = join(folder, name);
    const text = await readFile(file, 'utf8').catch(() => '{}');
    try {
      const { eos_token_id: ids } = JSON.parse(text) as { eos_token_id?: number | number[] | null };
      const all = [ids ?? []].flat();
      if (!all.every(Number.isSafeInteger))
        throw new Error('eos_token_id is neither a number nor a list of them');
      if (all.length > 0) return all;
    } catch (error) {
      throw new LightPeftError('BAD_CONFIG', `${file}: ${messageOf(error)}`, { cause: error });
    }
  }
  return [];
}
