import { join } from 'node:path';
import { z } from 'zod';
import { Random } from '../data/random.ts';
import { LightPeftError } from '../errors.ts';
import type { NamedTensor } from '../native.ts';
import { CONFIG, readConfig } from './config.ts';
import { baseShapes, vocabularyShapes } from './shapes.ts';
import { parseFields } from './parse-fields.ts';
import { writeCheckpoint } from './written.ts';

const FIELDS = z.object({ initializer_range: z.number().positive().default(0.02) });

/** Standard normal numbers (Box and Muller 1958). */
function* normals(random: Random): Generator<number, never> {
  for (;;) {
    const radius = Math.sqrt(-2 * Math.log((random.next() + 1) / 2 ** 32));
    const angle = (2 * Math.PI * random.next()) / 2 ** 32;
    yield radius * Math.cos(angle);
    yield radius * Math.sin(angle);
  }
}

/**
 * Writes a model with random weights, of the shape that a config.json says: norms do nothing, biases are zero, all else
 * is normal with the deviation that the config has for it (BERT's rule).
 * @throws {LightPeftError} BAD_CONFIG, UNSUPPORTED_MODEL; BAD_OPTION: it would tell no tokens
 */
export async function writeInitial(folder: string, source: string, seed: number): Promise<void> {
  const file = join(source, CONFIG);
  const { family, spec, json } = await readConfig(file);
  if (spec.vocabulary === 'none')
    throw new LightPeftError('BAD_OPTION', `${file}: this model tells no tokens`);
  const { initializer_range: deviation } = parseFields(FIELDS, json, file);
  const shapes = new Map([...baseShapes(spec), ...vocabularyShapes(spec)]);
  const normal = normals(new Random(seed, 0x1417));
  const tensors = [...shapes].map(([name, shape]): NamedTensor => {
    const data = new Float32Array(shape.reduce((product, n) => product * n, 1));
    if (/norm\.weight$/.test(name)) data.fill(1);
    else if (!name.endsWith('bias'))
      for (let i = 0; i < data.length; i++) data[i] = normal.next().value * deviation;
    return { name, shape, data };
  });
  await writeCheckpoint(folder, source, family, tensors, { told: 'tokens' });
}
