import { FAMILIES } from './checkpoint/families.ts';
import type { Checkpoint } from './checkpoint/folder.ts';
import type { PackedBatch } from './data/batches.ts';
import {
  coded,
  type ComputeDtype,
  type LayerCut,
  type NamedTensor,
  native,
  type NativeModel,
  type NativeSession,
  type RawScores,
  type SessionConfig,
  type SessionState,
  type StepMetrics,
  typed,
  type WeightRef,
} from './native.ts';

/** `auto`: bfloat16 where the processor multiplies it natively. */
export type Dtype = ComputeDtype | 'auto';

const computeDtype = (dtype: Dtype): ComputeDtype =>
  dtype !== 'auto' ? dtype : native().machine().bf16 ? 'bfloat16' : 'float32';

/** A frozen encoder in memory; weights whose dtype is the compute dtype stay mapped from their files. */
export class Model implements Disposable {
  readonly checkpoint: Checkpoint;
  readonly dtype: ComputeDtype;
  /** @internal */
  readonly handle: NativeModel;

  private constructor(checkpoint: Checkpoint, dtype: ComputeDtype, handle: NativeModel) {
    this.checkpoint = checkpoint;
    this.dtype = dtype;
    this.handle = handle;
  }

  /** @throws {LightPeftError} BAD_CHECKPOINT, NATIVE_MISSING, OUT_OF_MEMORY */
  static async load(
    checkpoint: Checkpoint,
    { dtype = 'auto', threads = 0 }: { dtype?: Dtype; threads?: number } = {},
  ): Promise<Model> {
    const weights: WeightRef[] = [...checkpoint.tensors].map(([site, tensor]) => ({ site, ...tensor }));
    const compute = computeDtype(dtype);
    const handle = new (native().Model)(threads);
    await coded(handle.load(checkpoint.spec, weights, compute));
    return new Model(checkpoint, compute, handle);
  }

  /** The smaller model that keeps these heads and neurons of each layer. This one stays as it is. */
  async cut(layers: LayerCut[], { threads = 0 } = {}): Promise<Model> {
    const handle = new (native().Model)(threads);
    await coded(handle.cut(this.handle, layers));
    return new Model(this.checkpoint, this.dtype, handle);
  }

  /** The name that Python's PEFT gives the module at a site of a layer. */
  moduleName(layer: number, site: string): string {
    return FAMILIES.get(this.checkpoint.spec.family)!.moduleOf(`layers.${layer}.${site}`)!;
  }

  dispose(): void {
    this.handle.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** One training or evaluation run over a model. Calls are worked off in order, on a thread of the session's own. */
export class Session implements Disposable {
  private readonly handle: NativeSession;

  /** @param threads of the lane; 0: as many as the machine has cores */
  constructor(model: Model, config: SessionConfig, { threads = 0 } = {}) {
    try {
      this.handle = new (native().Session)(model.handle, config, threads);
    } catch (error) {
      throw typed(error);
    }
  }

  /** One optimizer step over micro-batches; the loss is the mean over all their labelled examples. */
  step(batches: PackedBatch[], learningRate: number, score = false): Promise<void> {
    return coded(this.handle.step(batches, learningRate, score));
  }

  /** Logits [B, labels], row-major, and the sum of losses over the labelled examples. */
  evaluate(batch: PackedBatch): Promise<{ logits: Float32Array; loss: number; labelled: number }> {
    return coded(this.handle.evaluate(batch));
  }

  /** Of the steps since the last call. */
  metrics(): Promise<StepMetrics> {
    return coded(this.handle.metrics());
  }

  scores(): Promise<RawScores> {
    return coded(this.handle.scores());
  }

  /** Everything trainable, or the gradients that the last step left. */
  tensors({ gradients = false } = {}): Promise<NamedTensor[]> {
    return coded(this.handle.tensors(gradients));
  }

  /** @throws {LightPeftError} BAD_ADAPTER when a name or size does not fit; nothing is changed then */
  setTensors(tensors: Pick<NamedTensor, 'name' | 'data'>[]): Promise<void> {
    return coded(this.handle.setTensors(tensors));
  }

  state(): Promise<SessionState> {
    return coded(this.handle.state());
  }

  setState(state: SessionState): Promise<void> {
    return coded(this.handle.setState(state));
  }

  dispose(): void {
    this.handle.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}
