import { existsSync } from 'node:fs';
import { mkdir, open, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { baseShapes, headShapes } from '../../lib/checkpoint/shapes.ts';
import { readConfig } from '../../lib/checkpoint/config.ts';
import { Random } from '../../lib/data/random.ts';
import { type Shape, SHAPES, type ShapeName, VOCAB } from './shapes.ts';

/** Numbers that are drawn before they repeat. */
const DRAWN = 1 << 20;

/** bfloat16 weights, uniform with deviation 0.02: speed does not depend on them. */
function drawWeights(): Uint16Array {
  const random = new Random(5);
  const floats = Float32Array.from({ length: DRAWN }, () => (random.below(1 << 24) / (1 << 23) - 1) * 0.035);
  return Uint16Array.from(new Uint32Array(floats.buffer), (bits) => bits >> 16);
}

const ONE = 0x3f80;

/** A checkpoint with random weights in bfloat16, and a head of two classes, written once. */
async function randomWeights(folder: string, config: object): Promise<string> {
  const file = join(folder, 'model.safetensors');
  if (existsSync(file)) return folder;
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, 'config.json'), JSON.stringify(config));
  const { spec, family } = await readConfig(join(folder, 'config.json'));
  const shapes = new Map([...baseShapes(spec), ...headShapes(spec, 2)]);
  const header: Record<string, unknown> = { __metadata__: { format: 'pt' } };
  let end = 0;
  for (const [site, shape] of shapes) {
    const bytes = 2 * shape.reduce((product, n) => product * n, 1);
    header[family.tensorOf(site)!] = { dtype: 'BF16', shape, data_offsets: [end, end + bytes] };
    end += bytes;
  }
  // Padded, as tensors that are not aligned would have to be copied.
  const json = JSON.stringify(header);
  const text = Buffer.from(json.padEnd(Math.ceil(json.length / 8) * 8));
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

const robertaConfig = ({ hidden, layers, heads, ffn }: Shape, dropout: number) => ({
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
});

const optConfig = ({ hidden, layers, heads, ffn }: Shape, dropout: number) => ({
  architectures: ['OPTForSequenceClassification'],
  model_type: 'opt',
  vocab_size: 50272,
  hidden_size: hidden,
  word_embed_proj_dim: hidden,
  num_hidden_layers: layers,
  num_attention_heads: heads,
  ffn_dim: ffn,
  max_position_embeddings: 2048,
  activation_function: 'relu',
  dropout,
  attention_dropout: dropout,
  torch_dtype: 'bfloat16',
});

/** A checkpoint of a shape: a decoder of OPT's where that is causal, else RoBERTa's encoder. */
export const randomCheckpoint = (cache: string, name: ShapeName, dropout: number): Promise<string> => {
  const shape: Shape = SHAPES[name];
  const config = shape.causal ? optConfig(shape, dropout) : robertaConfig(shape, dropout);
  return randomWeights(join(cache, `${name}-dropout-${dropout}`), config);
};
