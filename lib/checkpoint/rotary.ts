import { z } from 'zod';
import { LightPeftError } from '../errors.ts';
import { parseFields } from './parse-fields.ts';
import { NO_ROTARY, type Rotary } from './spec.ts';

const positive = z.number().positive();
const factors = z.array(positive).nonempty();

const PARAMETERS = z.object({
  rope_type: z.string().nullish(),
  /** As transformers 4 called it first. */
  type: z.string().nullish(),
  rope_theta: positive.nullish(),
  partial_rotary_factor: positive.max(1).nullish(),
  factor: positive.nullish(),
  original_max_position_embeddings: positive.nullish(),
  attention_factor: positive.nullish(),
  beta_fast: positive.nullish(),
  beta_slow: positive.nullish(),
  mscale: z.number().nullish(),
  mscale_all_dim: z.number().nullish(),
  truncate: z.boolean().nullish(),
  low_freq_factor: positive.nullish(),
  high_freq_factor: positive.nullish(),
  short_factor: factors.nullish(),
  long_factor: factors.nullish(),
});
type Parameters = z.infer<typeof PARAMETERS>;

/** In a config.json: `rope_parameters` is transformers 5's spelling of the others. */
const FIELDS = z.object({
  rope_parameters: PARAMETERS.nullish(),
  rope_scaling: PARAMETERS.nullish(),
  rope_theta: positive.nullish(),
  rotary_emb_base: positive.nullish(),
  partial_rotary_factor: positive.max(1).nullish(),
  rotary_pct: positive.max(1).nullish(),
  original_max_position_embeddings: positive.nullish(),
});

/** What a scaling starts from. */
interface Plain {
  theta: number;
  /** Values of a head that are turned. */
  turned: number;
  frequencies: number[];
  /** Positions that the model was trained for at first, and those that it is for now. */
  original: number;
  positions: number;
}

type Scaled = Pick<Rotary, 'frequencies'> & { factor?: number; maxLength?: number };

const bound = (x: number, low: number, high: number) => Math.min(high, Math.max(low, x));

/** By wavelength: long ones are stretched, short ones left, those between blended (LLaMA 3.1). */
function llama3(plain: Plain, need: (name: keyof Parameters) => number): Scaled {
  const [factor, low, high] = [need('factor'), need('low_freq_factor'), need('high_freq_factor')];
  return {
    frequencies: plain.frequencies.map((frequency) => {
      const turns = (plain.original * frequency) / (2 * Math.PI);
      const kept = bound((turns - low) / (high - low), 0, 1);
      return frequency * (kept + (1 - kept) / factor);
    }),
  };
}

/** YaRN (Peng et al. 2023): by how often a value turns within the original positions. */
function yarn(plain: Plain, given: Parameters): Scaled {
  const { theta, turned, frequencies, original, positions } = plain;
  const factor = given.factor ?? positions / original;
  const temperature = (scale: number) => (factor <= 1 ? 1 : 0.1 * scale * Math.log(factor) + 1);
  const { mscale, mscale_all_dim } = given;
  const relative =
    mscale && mscale_all_dim ? temperature(mscale) / temperature(mscale_all_dim) : temperature(1);
  const dimension = (turns: number) =>
    (turned * Math.log(original / (turns * 2 * Math.PI))) / (2 * Math.log(theta));
  const whole = given.truncate ?? true;
  const [first, last] = [dimension(given.beta_fast || 32), dimension(given.beta_slow || 1)];
  const low = Math.max(whole ? Math.floor(first) : first, 0);
  const high = Math.min(whole ? Math.ceil(last) : last, turned - 1);
  return {
    frequencies: frequencies.map((frequency, i) => {
      const stretched = bound((i - low) / (high === low ? 0.001 : high - low), 0, 1);
      return frequency * (1 - stretched + stretched / factor);
    }),
    factor: given.attention_factor ?? relative,
  };
}

/** LongRoPE (Ding et al. 2024), with the factors of short texts, for which alone these hold. */
function longrope(plain: Plain, given: Parameters, bad: (message: string) => LightPeftError): Scaled {
  const { frequencies, original, positions } = plain;
  const short = given.short_factor;
  if (short?.length !== frequencies.length)
    throw bad(`short_factor has ${short?.length ?? 0} numbers where ${frequencies.length} are needed`);
  const factor = given.factor ?? positions / original;
  const temperature = factor <= 1 ? 1 : Math.sqrt(1 + Math.log(factor) / Math.log(original));
  return {
    frequencies: frequencies.map((frequency, i) => frequency / short[i]!),
    factor: given.attention_factor ?? temperature,
    maxLength: original,
  };
}

/**
 * Rotary positions as transformers 4 and 5 write them, with every scaling that they publish.
 * @param values of a head that are turned, where the config does not say which part of them is; all
 * @returns also how long a text may be for these angles
 * @throws {LightPeftError} BAD_CONFIG, or UNSUPPORTED_MODEL for a scaling that is not known
 */
export function rotaryOf(
  config: Record<string, unknown>,
  file: string,
  { headSize, positions, values = headSize }: { headSize: number; positions: number; values?: number },
): { rotary: Rotary; maxLength: number } {
  const fields = parseFields(FIELDS, config, file);
  const bad = (message: string) => new LightPeftError('BAD_CONFIG', `${file}: ${message}`);
  const given: Parameters = fields.rope_parameters ?? fields.rope_scaling ?? {};
  const theta = given.rope_theta ?? fields.rope_theta ?? fields.rotary_emb_base ?? 10_000;
  const share = given.partial_rotary_factor ?? fields.partial_rotary_factor ?? fields.rotary_pct;
  const turned = share == null ? values : Math.trunc(headSize * share);
  if (turned < 2 || turned % 2 !== 0)
    throw bad(`${turned} of the ${headSize} values of a head cannot be turned in pairs`);
  const plain: Plain = {
    theta,
    turned,
    frequencies: Array.from({ length: turned / 2 }, (_, i) => theta ** ((-2 * i) / turned)),
    original: fields.original_max_position_embeddings ?? given.original_max_position_embeddings ?? positions,
    positions,
  };
  const kind = given.rope_type ?? given.type ?? 'default';
  const need = (name: keyof Parameters): number => {
    const value = given[name];
    if (typeof value === 'number') return value;
    throw bad(`rotary positions of type "${kind}" need ${name}`);
  };
  const scaled = (): Scaled => {
    switch (kind) {
      case 'default':
      // Up to the length that the model was trained for, which is the most that is allowed, it changes nothing.
      case 'dynamic':
        return plain;
      case 'linear':
        return { frequencies: plain.frequencies.map((frequency) => frequency / need('factor')) };
      case 'llama3':
        return llama3(plain, need);
      case 'yarn':
        return yarn(plain, given);
      case 'longrope':
      case 'su':
        return longrope(plain, given, bad);
      default:
        throw new LightPeftError(
          'UNSUPPORTED_MODEL',
          `${file}: rotary positions of type "${kind}" are not supported`,
        );
    }
  };
  const { frequencies, factor = 1, maxLength = positions } = scaled();
  return { rotary: { ...NO_ROTARY, frequencies, factor }, maxLength };
}
