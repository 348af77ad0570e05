import { join } from 'node:path';
import { z } from 'zod';
import { safetensorsFile, type Tensor } from '../checkpoint/safetensors.ts';
import type { Family } from '../checkpoint/families.ts';
import type { NamedTensor } from '../native.ts';
import { makeFolder, readWhole } from '../result-folder.ts';
import { type WholeFile, writeTogether } from '../whole-file.ts';
import * as files from './files.ts';
import { badAdapter } from './files.ts';
import { infoFile, readInfoIfAny, type AdapterInfo } from './info.ts';

export interface PeftAdapter {
  /** null where the folder was not written by this library. */
  info: AdapterInfo | null;
  r: number;
  alpha: number;
  dropout: number;
  /** What B A x is multiplied by in that module. */
  scale: (moduleName: string) => number;
  /** Named as in the base model, without PEFT's prefix. */
  tensors: Map<string, Tensor>;
}

/** How a family names the parts of its head. */
export type HeadNames = Pick<Family, 'tensorOf' | 'placeOf' | 'isTransposed'>;

/** The name of a tensor in the model; LoRA's have it already. */
const outerName = (name: string, family: HeadNames): string =>
  name.startsWith('classifier.') ? (family.tensorOf(name) ?? name) : name;

/** The other way. */
function innerName(name: string, family: HeadNames): string {
  const place = files.loraPart(name) ? undefined : family.placeOf(name);
  return place?.part === 'head' ? place.site : name;
}

/** PEFT wraps a model twice, and its names tell. */
const PREFIX = 'base_model.model.';

/** transformers' kinds of models, as PEFT knows them; it has none for a choice among texts. */
const TASK_TYPES = {
  classes: 'SEQ_CLS',
  choices: null,
  tags: 'TOKEN_CLS',
  spans: 'QUESTION_ANS',
  tokens: 'CAUSAL_LM',
} as const satisfies Record<AdapterInfo['tells'], string | null>;

/**
 * Modules that are saved whole: those that PEFT itself has for classes, whether the model has them or not, and those of
 * the head, by the part of their names that PEFT looks for.
 */
function savedModules({ tells }: AdapterInfo, head: readonly string[]): string[] | null {
  if (tells === 'tokens') return null;
  const own = head.map(
    (name) => /(?:^|\.)(pooler|[^.]+)(?:\.(?:dense|out_proj|summary))?\.(?:weight|bias)$/.exec(name)![1]!,
  );
  return [
    ...new Set([...(tells === 'spans' || tells === 'choices' ? [] : ['classifier', 'score']), ...own]),
  ].sort();
}

const configOf = (info: AdapterInfo, head: readonly string[], transposed: boolean) => ({
  alpha_pattern: {},
  auto_mapping: null,
  base_model_name_or_path: info.base,
  bias: 'none',
  exclude_modules: null,
  fan_in_fan_out: transposed,
  inference_mode: true,
  init_lora_weights: true,
  layer_replication: null,
  layers_pattern: null,
  layers_to_transform: null,
  lora_alpha: info.alpha,
  lora_bias: false,
  lora_dropout: info.dropout,
  modules_to_save: savedModules(info, head),
  peft_type: 'LORA',
  r: info.r,
  rank_pattern: {},
  revision: null,
  // PEFT keeps a set; sorted, equal adapters give equal files.
  target_modules: [...info.targetModules].sort(),
  task_type: TASK_TYPES[info.tells],
  use_dora: false,
  use_rslora: false,
});

/** What Python's PEFT loads, and light_peft.json beside it. */
export function peftFiles(
  folder: string,
  tensors: NamedTensor[],
  info: AdapterInfo,
  family: HeadNames,
): WholeFile[] {
  const named = new Map(
    files.withoutMasks(tensors).map((tensor) => [PREFIX + outerName(tensor.name, family), tensor]),
  );
  const head = [...named.keys()]
    .filter((name) => files.loraPart(name) === undefined)
    .map((name) => name.slice(PREFIX.length));
  const config = configOf(info, head, family.isTransposed('layers.0.output.weight'));
  return [
    infoFile(folder, info),
    // transformers refuses a file that does not say for what it was written.
    safetensorsFile(join(folder, files.PEFT_TENSORS), named, { format: 'pt' }),
    files.jsonFile(join(folder, files.PEFT_CONFIG), config),
  ];
}

/** Writes it. */
export async function writePeftAdapter(
  folder: string,
  tensors: NamedTensor[],
  info: AdapterInfo,
  family: HeadNames,
): Promise<void> {
  await makeFolder(folder);
  await writeTogether(peftFiles(folder, tensors, info, family));
}

const schema = z.object({
  peft_type: z.string(),
  r: z.int().positive(),
  lora_alpha: z.number(),
  lora_dropout: z.number().min(0).lt(1).default(0),
  rank_pattern: z.record(z.string(), z.int().positive()).nullish(),
  alpha_pattern: z.record(z.string(), z.number()).nullish(),
  use_rslora: z.boolean().default(false),
  bias: z.string().default('none'),
});

/**
 * Settings that make of LoRA something else. Those that only guide the initialisation are of no concern, nor is
 * fan_in_fan_out, which tells how the base's weight lies: A and B are the same.
 */
const OTHER_LORA = [
  'use_dora',
  'lora_bias',
  'use_qalora',
  'use_bdlora',
  'layer_replication',
  'target_parameters',
  'trainable_token_indices',
  'alora_invocation_tokens',
  'arrow_config',
  'kasa_config',
  'monteclora_config',
];

/** Absent, off or empty. */
const isOff = (value: unknown): boolean =>
  value === undefined ||
  value === null ||
  value === false ||
  (typeof value === 'object' && Object.keys(value).length === 0);

async function readConfig(file: string): Promise<z.output<typeof schema>> {
  const json = files.checked(z.record(z.string(), z.unknown()), await files.readJson(file), file);
  // Before the other fields, which another type of adapter need not have.
  if (json['peft_type'] !== 'LORA')
    throw badAdapter(`${file}: peft_type is ${JSON.stringify(json['peft_type'])}; only LORA can be read`);
  const config = files.checked(schema, json, file);
  if (config.bias !== 'none')
    throw badAdapter(`${file}: bias is ${JSON.stringify(config.bias)}; only "none" can be read`);
  const other = OTHER_LORA.find((key) => !isOff(json[key]));
  if (other !== undefined) throw badAdapter(`${file}: ${other} is set, which is not supported`);
  return config;
}

type Lookup = (module: string) => number;

/** Of a group that holds a quantifier and has one itself. */
const REPEATED_REPEATS = /\([^()]*[+*}][^()]*\)[+*{]/;

/** PEFT's rule: a key is a regular expression for the end of a name, from a dot on; the first that fits counts. */
function lookup(
  patterns: Record<string, number> | null | undefined,
  otherwise: number,
  file: string,
): Lookup {
  const rules = Object.entries(patterns ?? {}).map(([key, value]) => {
    if (REPEATED_REPEATS.test(key))
      throw badAdapter(`${file}: ${JSON.stringify(key)} repeats what repeats, and could take forever`);
    try {
      return { pattern: new RegExp(`^(.*\\.)?(${key})$`), value };
    } catch (error) {
      throw badAdapter(`${file}: ${JSON.stringify(key)} is not a pattern of names that can be read`, error);
    }
  });
  return (module) => rules.find(({ pattern }) => pattern.test(module))?.value ?? otherwise;
}

function unprefixed(
  tensors: ReadonlyMap<string, Tensor>,
  file: string,
  family: HeadNames,
): Map<string, Tensor> {
  const result = new Map<string, Tensor>();
  for (const [name, tensor] of tensors) {
    if (!name.startsWith(PREFIX)) throw badAdapter(`${file}: ${name} does not begin with ${PREFIX}`);
    result.set(innerName(name.slice(PREFIX.length), family), tensor);
  }
  return result;
}

/**
 * Reads what this library or Python's PEFT wrote.
 * @throws {LightPeftError} BAD_ADAPTER: it cannot be read, or is not plain LoRA
 */
export const readPeftAdapter = (folder: string, family: HeadNames): Promise<PeftAdapter> =>
  readWhole(folder, files.PEFT_CONFIG, () => readAtOnce(folder, family));

async function readAtOnce(folder: string, family: HeadNames): Promise<PeftAdapter> {
  const file = join(folder, files.PEFT_CONFIG);
  const config = await readConfig(file);
  const rank = lookup(config.rank_pattern, config.r, file);
  const alpha = lookup(config.alpha_pattern, config.lora_alpha, file);
  const weights = join(folder, files.PEFT_TENSORS);
  const tensors = unprefixed(await files.readAdapterTensors(weights), weights, family);
  for (const [module, found] of files.ranksOf(tensors, weights))
    if (found !== rank(module))
      throw badAdapter(`${weights}: ${module} is of rank ${found}, its configuration says ${rank(module)}`);
  const info = await readInfoIfAny(folder);
  if (info && (info.r !== config.r || info.alpha !== config.lora_alpha))
    throw badAdapter(`${folder}: ${files.INFO} and ${files.PEFT_CONFIG} do not agree on r and alpha`);
  return {
    info,
    r: config.r,
    alpha: config.lora_alpha,
    dropout: config.lora_dropout,
    scale: (module) => alpha(module) / (config.use_rslora ? Math.sqrt(rank(module)) : rank(module)),
    tensors,
  };
}
