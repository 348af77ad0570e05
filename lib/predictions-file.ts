import { existsSync } from 'node:fs';
import { stat, writeFile } from 'node:fs/promises';
import { basename, dirname, extname, join } from 'node:path';
import { LIGHT_TENSORS, PEFT_TENSORS } from './adapter/files.ts';
import { LightPeftError } from './errors.ts';
import type { Options } from './options.ts';
import { SCORES } from './plan/estimate-file.ts';
import { STATE } from './training-state.ts';
import { placeOf, savedSomewhere, makeFolder } from './result-folder.ts';
import { ioError, writeWhole } from './whole-file.ts';

/** Files of which every folder of results or of a model has one. */
const RESULTS = [PEFT_TENSORS, LIGHT_TENSORS, SCORES, STATE, 'model.safetensors', 'tokenizer.json'];

/** Of predictions, which may be written again. */
const OWN = '.jsonl';

/** Where what is predicted goes: a file, or what takes it as it comes, as a pipe does. */
export class PredictionsFile {
  private constructor(
    private readonly file: string,
    private readonly isFile: boolean,
  ) {}

  /** @throws {LightPeftError} BAD_OPTION: what is read would be written over; IO: nothing can be written there */
  static async of(out: string, { input }: Partial<Options>): Promise<PredictionsFile> {
    const file = await placeOf(out);
    const found = await stat(file).catch(() => undefined);
    const lost = (what: string) => new LightPeftError('BAD_OPTION', `--out: ${out} is ${what}`);
    if (input !== undefined && file === (await placeOf(input))) throw lost('the input');
    if (found?.isDirectory()) throw lost('a folder');
    // A file of another name there could be taken for a result, or be one.
    const holds = RESULTS.find((name) => existsSync(join(dirname(file), name)));
    if (holds !== undefined && extname(file) !== OWN && (found?.isFile() ?? true))
      throw lost(`beside ${holds}, and no ${OWN} file`);
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
