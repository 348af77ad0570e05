import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { readTensors, type Tensor, writeSafetensors } from '../checkpoint/safetensors.ts';
import { LightPeftError } from '../errors.ts';
import type { NamedTensor } from '../native.ts';
import { type AdapterInfo, readInfo, readJson, writeInfo, writeJson } from './info.ts';
import { isThere } from './kind.ts';

const PREFIX = 'base_model.model.';

/** A Hugging Face PEFT LoRA folder, which Python's peft loads on the same base; masks stay out. */
export async function writePeftAdapter(
  folder: string,
  tensors: NamedTensor[],
  info: AdapterInfo,
): Promise<void> {
  await mkdir(folder, { recursive: true });
  const kept = tensors.filter(({ name }) => !name.startsWith('masks.'));
  await writeSafetensors(
    join(folder, 'adapter_model.safetensors'),
    new Map(kept.map(({ name, shape, data }) => [PREFIX + name, { shape, data }])),
    { format: 'pt' },
  );
  await writeInfo(folder, info);
  // Last, as it is what makes the folder an adapter.
  await writeJson(join(folder, 'adapter_config.json'), {
    peft_type: 'LORA',
    task_type: 'SEQ_CLS',
    base_model_name_or_path: info.base,
    r: info.r,
    lora_alpha: info.alpha,
    lora_dropout: info.dropout,
    target_modules: info.targetModules,
    modules_to_save: ['classifier', 'score'],
    bias: 'none',
    fan_in_fan_out: false,
    inference_mode: true,
    init_lora_weights: true,
    use_rslora: false,
    use_dora: false,
    rank_pattern: {},
    alpha_pattern: {},
  });
}

const CONFIG = z.object({
  peft_type: z.literal('LORA'),
  r: z.int().min(1),
  lora_alpha: z.number(),
  lora_dropout: z.number().default(0),
  bias: z.literal('none').default('none'),
  fan_in_fan_out: z.literal(false).nullish(),
  use_dora: z.literal(false).nullish(),
  use_rslora: z.boolean().nullish(),
  rank_pattern: z.record(z.string(), z.int()).nullish(),
  alpha_pattern: z.record(z.string(), z.number()).nullish(),
});

export interface PeftAdapter {
  /** Null: written by another tool. */
  info: AdapterInfo | null;
  r: number;
  /** alpha / r of a module, or alpha / sqrt(r) for rank-stabilised LoRA. */
  scale: (module: string) => number;
  /** By name without PEFT's prefix. */
  tensors: Map<string, Tensor>;
}

/** A pattern's value for a module: its key is the end of the module's name. */
const patterned = (pattern: Record<string, number> | null | undefined, module: string): number | undefined =>
  Object.entries(pattern ?? {}).find(([key]) => module === key || module.endsWith(`.${key}`))?.[1];

/** @throws {LightPeftError} BAD_ADAPTER: unreadable, or a kind of PEFT that is not LoRA as the paper has it */
export async function readPeftAdapter(folder: string): Promise<PeftAdapter> {
  const file = join(folder, 'adapter_config.json');
  const parsed = CONFIG.safeParse(await readJson(file));
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw new LightPeftError(
      'BAD_ADAPTER',
      `${file}: ${issue?.path.join('.')}: ${issue?.message ?? 'malformed'}`,
    );
  }
  const config = parsed.data;
  const stored = await readTensors(join(folder, 'adapter_model.safetensors'));
  const tensors = new Map(
    [...stored].map(([name, tensor]) => [name.startsWith(PREFIX) ? name.slice(PREFIX.length) : name, tensor]),
  );
  return {
    info: (await isThere(join(folder, 'light_peft.json'))) ? await readInfo(folder) : null,
    r: config.r,
    scale: (module) => {
      const r = patterned(config.rank_pattern, module) ?? config.r;
      const alpha = patterned(config.alpha_pattern, module) ?? config.lora_alpha;
      return alpha / (config.use_rslora ? Math.sqrt(r) : r);
    },
    tensors,
  };
}
