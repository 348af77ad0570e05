import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Checkpoint, openCheckpoint } from '../../lib/checkpoint/folder.ts';
import { readTensors, type Tensor } from '../../lib/checkpoint/safetensors.ts';
import { sitesOf } from '../../lib/checkpoint/spec.ts';
import { FAMILIES, type Family } from '../../lib/checkpoint/families.ts';
import { headConfig } from '../../lib/head-config.ts';
import { frozenHeadOf } from '../../lib/head-tensors.ts';
import { type PackedBatch, packBatch } from '../../lib/data/batches.ts';
import { Model, Session } from '../../lib/engine.ts';
import { type ComputeDtype, type ModuleConfig, PLAIN_SESSION, type SessionConfig } from '../../lib/native.ts';

/** Recorded cases of every family, of two shapes where a family has a block of its own. */
export const ENCODERS = [
  ...['roberta-odd', 'xlm-roberta-tiny', 'xlm-roberta-odd', 'camembert-tiny', 'camembert-odd'],
  ...['bert-tiny', 'bert-odd', 'electra-tiny', 'electra-odd', 'distilbert-tiny', 'distilbert-odd'],
];

export const DECODERS = [
  ...['opt', 'llama', 'mistral', 'qwen2', 'qwen3', 'gpt2', 'gpt-neox', 'gpt-neo', 'gptj', 'bloom'],
].flatMap((family) => [`${family}-tiny`, `${family}-odd`]);

export const fixture = (...path: string[]) => join(import.meta.dirname, '../fixtures', ...path);

export const readJson = <T>(...path: string[]): T => JSON.parse(readFileSync(fixture(...path), 'utf8')) as T;

export interface Run {
  loss: number;
  base_loss: number;
  steps: { losses: number[]; grad_norms: number[]; lrs: number[]; after_loss: number };
}

export interface Truth {
  inputs: number[][];
  labels: number[];
  training: { count: number; lr: number; weight_decay: number; max_grad_norm: number };
  f64: Run;
  bf16?: { inputs: number[][] };
  /** Of decoders: the next token's loss, and what the base says greedily. */
  lm?: {
    loss: number;
    greedy: { prompt: number[]; tokens: number[]; gaps: number[] }[];
    beams: { prompts: number[][]; tokens: number[][] };
  };
}

/** A recorded case, opened: checkpoint, adapter and what PyTorch made of them. */
export class Case {
  constructor(
    readonly checkpoint: Checkpoint,
    readonly truth: Truth,
    readonly tensors: Map<string, Tensor>,
    readonly adapter: Map<string, Tensor>,
    readonly config: { r: number; lora_alpha: number },
  ) {}

  static async open(name: string): Promise<Case> {
    return new Case(
      await openCheckpoint(fixture(name, 'base')),
      readJson<Truth>(name, 'truth.json'),
      await readTensors(fixture(name, 'truth.safetensors')),
      await readTensors(fixture(name, 'adapter/adapter_model.safetensors')),
      readJson(name, 'adapter/adapter_config.json'),
    );
  }

  modules(model: Model): ModuleConfig[] {
    const { r, lora_alpha } = this.config;
    return Array.from({ length: this.checkpoint.spec.layers }, (_, layer) =>
      sitesOf(this.checkpoint.spec).map((site): ModuleConfig => ({
        name: model.moduleName(layer, site),
        layer,
        site,
        rank: r,
        scale: lora_alpha / r,
        dropout: 0,
      })),
    )
      .flat()
      .filter(({ name }) => this.adapter.has(`base_model.model.${name}.lora_A.weight`));
  }

  sessionConfig(model: Model, changes: Partial<SessionConfig> = {}): SessionConfig {
    const head = this.outer('classifier.out_proj.weight');
    const labels = this.adapter.get(`base_model.model.${head}`)!.shape[0]!;
    return {
      ...PLAIN_SESSION,
      modules: this.modules(model),
      head: headConfig(this.checkpoint.spec, labels, this.frozen),
      regression: labels === 1,
      headMaskRate: 1,
      neuronMaskRate: 1,
      ratios: true,
      weightDecay: this.truth.training.weight_decay,
      maxGradNorm: this.truth.training.max_grad_norm,
      ...changes,
    };
  }

  /** A session with the recorded adapter in it. */
  async session(model: Model, changes: Partial<SessionConfig> = {}): Promise<Session> {
    const session = new Session(model, this.sessionConfig(model, changes), { threads: 2 });
    await session.setTensors(await frozenHeadOf(this.checkpoint));
    await session.setTensors(
      [...this.adapter].map(([name, { data }]) => {
        const own = name.replace('base_model.model.', '');
        const place = own.includes('.lora_') ? undefined : this.family.placeOf(own);
        return { name: place?.part === 'head' ? place.site : own, data };
      }),
    );
    return session;
  }

  get family(): Family {
    return FAMILIES.get(this.checkpoint.spec.family)!;
  }

  /** Whether the head's dense is a part of the base. */
  get frozen(): boolean {
    return this.checkpoint.spec.head.frozen && this.checkpoint.head.has('classifier.dense.weight');
  }

  /** A parameter's name as the recorded model has it. */
  outer(name: string): string {
    return name.startsWith('classifier.') ? this.family.tensorOf(name)! : name;
  }

  batch(inputs = this.truth.inputs, labels = this.truth.labels): PackedBatch {
    return packBatch(
      inputs.map((ids, idx) => ({
        ids: Int32Array.from(ids),
        typeIds: new Int32Array(ids.length),
        truncated: false,
        idx,
        label: labels[idx] ?? NaN,
      })),
    );
  }
}

export const loadCase = async (name: string, dtype: ComputeDtype = 'float32') => {
  const recorded = await Case.open(name);
  return { recorded, model: await Model.load(recorded.checkpoint, { dtype, threads: 2 }) };
};

/** max |a - b| / max |b|. */
export function distance(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) return Infinity;
  let difference = 0;
  let scale = 0;
  for (let i = 0; i < b.length; i++) {
    const d = Math.abs(a[i]! - b[i]!);
    if (!(d <= difference)) difference = d;
    scale = Math.max(scale, Math.abs(b[i]!));
  }
  return difference / (scale || 1);
}

export const rms = (a: ArrayLike<number>, b: ArrayLike<number>): number => {
  let sum = 0;
  for (let i = 0; i < b.length; i++) sum += (a[i]! - b[i]!) ** 2;
  return Math.sqrt(sum / b.length);
};
