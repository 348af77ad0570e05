import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { readConfig } from '../../lib/checkpoint/config.ts';
import { alibiSlopes } from '../../lib/checkpoint/decoder-config.ts';
import { FAMILIES } from '../../lib/checkpoint/families.ts';
import { openCheckpoint } from '../../lib/checkpoint/folder.ts';
import { rotaryOf } from '../../lib/checkpoint/rotary.ts';
import { DECODERS, fixture } from '../engine/truth.ts';
import { Broken } from './broken.ts';

interface RotaryCase {
  config: Record<string, unknown> & { rope_theta: number; rope_scaling: Record<string, unknown> };
  frequencies: number[];
  factor: number;
}
const { cases } = JSON.parse(readFileSync(fixture('rotary', 'truth.json'), 'utf8')) as {
  cases: RotaryCase[];
};

describe('rotary positions', () => {
  const sizes = { headSize: 16, positions: 4096 };
  for (const { config, frequencies, factor } of cases) {
    const { rope_theta, rope_scaling } = config;
    it(`of type ${String(rope_scaling['rope_type'])}, theta ${rope_theta}, are those of transformers`, () => {
      // transformers 4's spellings, old and new, and 5's.
      const { rope_type, ...rest } = rope_scaling;
      const spellings = [
        config,
        { ...config, rope_scaling: { ...rest, type: rope_type } },
        { rope_parameters: { ...rope_scaling, rope_theta } },
      ];
      for (const spelling of spellings) {
        const { rotary } = rotaryOf(spelling, 'config.json', sizes);
        expect(rotary.factor).closeTo(factor, 1e-6);
        rotary.frequencies.forEach((each, i) => expect(each / frequencies[i]!).closeTo(1, 2e-6));
      }
    });
  }

  it('are as long as what they hold for', () => {
    const long = cases.find(({ config }) => config.rope_scaling['rope_type'] === 'longrope')!;
    expect(rotaryOf(long.config, 'config.json', sizes).maxLength).to.equal(1024);
    expect(rotaryOf({}, 'config.json', sizes).maxLength).to.equal(4096);
  });
});

describe("ALiBi's slopes", () => {
  it('are powers of two, and those between for other numbers of heads', () => {
    expect(alibiSlopes(8)).to.deep.equal([1, 2, 3, 4, 5, 6, 7, 8].map((i) => 2 ** -i));
    expect(alibiSlopes(3)).to.deep.equal([2 ** -4, 2 ** -8, 2 ** -2]);
  });
});

describe("a decoder's checkpoint", () => {
  let broken: Broken;
  beforeEach(() => {
    broken = new Broken();
  });
  afterEach(() => broken.dispose());

  it('has every weight by a name that goes both ways', async () => {
    for (const name of DECODERS) {
      const { spec, tensors, head } = await openCheckpoint(fixture(name, 'base'));
      const family = FAMILIES.get(spec.family)!;
      for (const site of [...tensors.keys(), ...head.keys()])
        expect(family.placeOf(family.tensorOf(site)!), `${name} ${site}`).to.deep.include({ site });
      expect(tensors.has('vocabulary.weight'), name).to.equal(spec.vocabulary.startsWith('own'));
    }
  });

  const changed = (name: string, change: Record<string, unknown>) =>
    broken.failure(() => readConfig(join(broken.withConfig(fixture(name, 'base'), change), 'config.json')));
  const refused: [string, Record<string, unknown>, RegExp][] = [
    [
      'llama-tiny',
      { num_attention_heads: 5, head_dim: null },
      /hidden size 24 is not a multiple of the 5 heads/,
    ],
    [
      'llama-tiny',
      { num_key_value_heads: 3 },
      /num_attention_heads 4 is not a multiple of num_key_value_heads 3/,
    ],
    [
      'llama-tiny',
      { rope_parameters: { rope_type: 'odd' } },
      /^UNSUPPORTED_MODEL .*type "odd" are not supported/,
    ],
    ['llama-tiny', { rope_parameters: { rope_type: 'linear' } }, /type "linear" need factor/],
    [
      'llama-tiny',
      { rope_parameters: { rope_type: 'longrope', short_factor: [1] } },
      /short_factor has 1 numbers/,
    ],
    ['llama-tiny', { head_dim: 1 }, /1 of the 1 values of a head cannot be turned in pairs/],
    ['gptj-tiny', { rotary_dim: 40 }, /rotary_dim 40 is more than the 8 values of a head/],
    ['gpt-neo-tiny', { attention_types: [[['global'], 5]] }, /attention_types is for 5 layers of 2/],
    ['qwen2-tiny', { layer_types: ['full_attention'] }, /layer_types is for 1 layers of 3/],
    ['gpt2-tiny', { scale_attn_by_inverse_layer_idx: true }, /^UNSUPPORTED_MODEL /],
    ['bloom-tiny', { apply_residual_connection_post_layernorm: true }, /^UNSUPPORTED_MODEL /],
    ['opt-tiny', { layer_norm_elementwise_affine: false }, /^UNSUPPORTED_MODEL /],
    ['opt-tiny', { hidden_size: null }, /hidden_size is missing/],
    ['opt-tiny', { activation_function: 'mish' }, /^UNSUPPORTED_MODEL /],
  ];
  for (const [name, change, message] of refused)
    it(`${name} is refused with ${JSON.stringify(change)}`, async () => {
      const told = await changed(name, change);
      expect(told).to.match(/^(BAD_CONFIG|UNSUPPORTED_MODEL) config\.json: /);
      expect(told).to.match(message);
    });
});
