import { stat, writeFile } from 'node:fs/promises';
import { basename, dirname, extname, join } from 'node:path';
import { LightPeftError } from './errors.ts';
import type { Options } from './options.ts';
import { placeOf, savedSomewhere, makeFolder } from './result-folder.ts';
import { ioError, writeWhole } from './whole-file.ts';

/** Of predictions, which may be written again. */
const OWN = '.jsonl';

/** Where what is predicted goes: a file, or what takes it as it comes, as a pipe does. */
export class PredictionsFile {
  private constructor(
    private readonly file: string,
    private readonly isFile: boolean,
  ) {}

  /** @throws {LightPeftError} BAD_OPTION: what is read would be written over; IO: nothing can be written there */
  static async of(out: string, { input, adapter, model }: Partial<Options>): Promise<PredictionsFile> {
    const file = await placeOf(out);
    const found = await stat(file).catch(() => undefined);
    const lost = (what: string) => new LightPeftError('BAD_OPTION', `--out: ${out} is ${what}`);
    if (input !== undefined && file === (await placeOf(input))) throw lost('the input');
    if (found?.isDirectory()) throw lost('a folder');
    const folders = [adapter, model].filter((folder) => folder !== undefined);
    const read = await Promise.all(folders.map(placeOf));
    if (found && extname(file) !== OWN && read.includes(dirname(file)))
      throw lost(`a file of ${dirname(file)}, which is read`);
    const isFile = found?.isFile() ?? true;
    if (isFile) await makeFolder(dirname(file));
    return new PredictionsFile(file, isFile);
  }

  /** @throws {LightPeftError} IO */
  async write(text: string): Promise<void> {
    const { file } = this;
    if (this.isFile)
      return savedSomewhere(dirname(file), (folder) => writeWhole(join(folder, basename(file)), [text]));
    await writeFile(file, text).catch((error: unknown) => {
      throw ioError(file, error);
    });
  }
}
