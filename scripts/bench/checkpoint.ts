import { existsSync } from 'node:fs';
import { mkdir, open, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { FAMILIES } from '../../lib/checkpoint/families.ts';
import { baseShapes, headShapes } from '../../lib/checkpoint/shapes.ts';
import { readConfig } from '../../lib/checkpoint/config.ts';
import { Random } from '../../lib/data/random.ts';
import { SHAPES, type ShapeName, VOCAB } from './shapes.ts';

/** Numbers that are drawn before they repeat. */
const DRAWN = 1 << 20;

/** bfloat16 weights, uniform with deviation 0.02: speed does not depend on them. */
function drawWeights(): Uint16Array {
  const random = new Random(5);
  const floats = Float32Array.from({ length: DRAWN }, () => (random.below(1 << 24) / (1 << 23) - 1) * 0.035);
  return Uint16Array.from(new Uint32Array(floats.buffer), (bits) => bits >> 16);
}

const ONE = 0x3f80;

/** A RoBERTa checkpoint of a shape with random weights in bfloat16, written once. */
export async function randomCheckpoint(cache: string, name: ShapeName, dropout: number): Promise<string> {
  const { hidden, layers, heads, ffn } = SHAPES[name];
  const folder = join(cache, `${name}-dropout-${dropout}`);
  const file = join(folder, 'model.safetensors');
  if (existsSync(file)) return folder;
  await mkdir(folder, { recursive: true });
  const config = {
    architectures: ['RobertaForSequenceClassification'],
    model_type: 'roberta',
    vocab_size: VOCAB,
    hidden_size: hidden,
    num_hidden_layers: layers,
    num_attention_heads: heads,
    intermediate_size: ffn,
    max_position_embeddings: 514,
    type_vocab_size: 1,
    hidden_act: 'gelu',
    layer_norm_eps: 1e-5,
    hidden_dropout_prob: dropout,
    attention_probs_dropout_prob: dropout,
    pad_token_id: 1,
    bos_token_id: 0,
    eos_token_id: 2,
    torch_dtype: 'bfloat16',
  };
  await writeFile(join(folder, 'config.json'), JSON.stringify(config));
  const { spec } = await readConfig(join(folder, 'config.json'));
  const family = FAMILIES.get('roberta')!;
  const shapes = new Map([...baseShapes(spec), ...headShapes(spec, 2)]);
  const header: Record<string, unknown> = { __metadata__: { format: 'pt' } };
  let end = 0;
  for (const [site, shape] of shapes) {
    const bytes = 2 * shape.reduce((product, n) => product * n, 1);
    header[family.tensorOf(site)!] = { dtype: 'BF16', shape, data_offsets: [end, end + bytes] };
    end += bytes;
  }
  const text = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  const weights = drawWeights();
  const handle = await open(`${file}.tmp`, 'w');
  await handle.writeFile(Buffer.concat([length, text]));
  for (const [site, shape] of shapes) {
    const count = shape.reduce((product, n) => product * n, 1);
    const isGamma = /norm\.weight$/.test(site);
    for (let at = 0; at < count; at += DRAWN) {
      const part = isGamma
        ? new Uint16Array(Math.min(DRAWN, count)).fill(ONE)
        : weights.subarray(0, Math.min(DRAWN, count - at));
      await handle.writeFile(new Uint8Array(part.buffer, part.byteOffset, part.byteLength));
    }
  }
  await handle.close();
  await rename(`${file}.tmp`, file);
  return folder;
}
