import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { LightPeftError } from '../errors.ts';

export const isThere = (file: string): Promise<boolean> =>
  access(file).then(
    () => true,
    () => false,
  );

/** @throws {LightPeftError} BAD_ADAPTER: neither */
export async function kindOfAdapter(folder: string): Promise<'peft' | 'light'> {
  if (await isThere(join(folder, 'plan.json'))) return 'light';
  if (await isThere(join(folder, 'adapter_config.json'))) return 'peft';
  throw new LightPeftError('BAD_ADAPTER', `${folder}: neither adapter_config.json nor plan.json is there`);
}
