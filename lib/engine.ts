/// <reference lib="esnext.disposable" preserve="true" />
import { deviceOf, usualDevice } from './device.ts';
import { FAMILIES } from './checkpoint/families.ts';
import type { Checkpoint } from './checkpoint/folder.ts';
import type { PackedBatch } from './data/batches.ts';
import {
  coded,
  type ComputeDtype,
  type LayerCut,
  type LayerReconstruction,
  type Measures,
  type ModuleConfig,
  type NamedTensor,
  native,
  type NativeEvaluation,
  type NativeModel,
  type NativeSession,
  type Part,
  type RawScores,
  type SessionConfig,
  type SessionState,
  type StepMetrics,
  typed,
  type WeightNorms,
  type WeightRef,
} from './native.ts';

/** `auto`: bfloat16 where the processor multiplies it natively. */
export type Dtype = ComputeDtype | 'auto';

const computeDtype = (dtype: Dtype, device: string): ComputeDtype =>
  dtype !== 'auto' ? dtype : device !== 'cpu' || native().machine().bf16 ? 'bfloat16' : 'float32';

/** A model in memory; weights whose dtype is the compute dtype stay mapped from their files. */
export class Model implements Disposable {
  readonly checkpoint: Checkpoint;
  readonly dtype: ComputeDtype;
  /** `cpu` or `cuda:N`. */
  readonly device: string;
  /** @internal */
  readonly handle: NativeModel;

  private constructor(checkpoint: Checkpoint, dtype: ComputeDtype, device: string, handle: NativeModel) {
    this.checkpoint = checkpoint;
    this.dtype = dtype;
    this.device = device;
    this.handle = handle;
  }

  /**
   * @param options.device `cpu` or `cuda:N`
   * @param options.tf32 whether fp32 products on a GPU may be rounded to TF32; the last model to load decides for all
   * @throws {LightPeftError} BAD_CHECKPOINT, NATIVE_MISSING, OUT_OF_MEMORY; BAD_OPTION: no such device
   */
  static async load(
    checkpoint: Checkpoint,
    {
      dtype = 'auto',
      threads = 0,
      device = usualDevice(),
      tf32 = false,
    }: { dtype?: Dtype; threads?: number; device?: string; tf32?: boolean } = {},
  ): Promise<Model> {
    const weights: WeightRef[] = [...checkpoint.tensors].map(([site, tensor]) => ({ site, ...tensor }));
    const place = deviceOf(device);
    const compute = await coded(() => computeDtype(dtype, place));
    const handle = new (native().Model)(threads);
    await coded(() => handle.load(checkpoint.spec, weights, compute, place, tf32));
    return new Model(checkpoint, compute, place, handle);
  }

  /** The smaller model that keeps these heads and neurons of each layer. This one stays as it is. */
  async cut(layers: LayerCut[], { threads = 0 } = {}): Promise<Model> {
    const handle = new (native().Model)(threads);
    await coded(() => handle.cut(this.handle, layers));
    return new Model(this.checkpoint, this.dtype, this.device, handle);
  }

  norms(): Promise<WeightNorms> {
    return coded(() => this.handle.norms());
  }

  /** What the biases of attention output and FFN output gain where the mean of what a cut removes is put in its place. */
  shifts(layers: LayerCut[], { contextMean, neuronMean }: Pick<Measures, 'contextMean' | 'neuronMean'>) {
    return coded(() => this.handle.shifts(layers, contextMean, neuronMean));
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

/** What a call throws before it promises anything, typed. */
function immediate<T>(call: () => T): T {
  try {
    return call();
  } catch (error) {
    throw typed(error);
  }
}

/** A session after what it is to begin with; it is disposed of where that fails. */
export async function begun(
  session: Session,
  work: (session: Session) => Promise<unknown>,
): Promise<Session> {
  try {
    await work(session);
    return session;
  } catch (error) {
    session.dispose();
    throw error;
  }
}

export interface StepOptions {
  /** Whether it counts for the scores. */
  score?: boolean;
  /** Whether only the topmost layer with modules and the head learn, and what is below rests. */
  rests?: boolean;
}

/** Steps that may wait in the lane. */
const DEPTH = 2;

/** One training or evaluation run over a model. Calls are worked off in order, on a thread of the session's own. */
export class Session implements Disposable {
  /** In the order of the scores. */
  readonly modules: readonly ModuleConfig[];
  private readonly handle: NativeSession;
  private readonly queued: Promise<void>[] = [];
  private failure: unknown;

  /** @param threads of the lane; 0: as many as the machine has cores */
  constructor(model: Model, config: SessionConfig, { threads = 0 } = {}) {
    this.modules = config.modules;
    this.handle = immediate(() => new (native().Session)(model.handle, config, threads));
  }

  /**
   * One optimizer step over micro-batches; the loss is the mean over all their labelled examples. Resolves when the
   * step is enqueued and no more than two wait for the lane, so that the next batch is prepared meanwhile; what goes
   * wrong in a step is thrown by the call that comes after. On a GPU the lane queues steps and does not wait for them.
   */
  async step(
    batches: PackedBatch[],
    learningRate: number,
    { score = false, rests = false }: StepOptions = {},
  ): Promise<void> {
    this.raise();
    const step = () => this.handle.step(batches, learningRate, score, rests);
    const done = immediate(step).catch((error: unknown) => {
      this.failure ??= error;
    });
    this.queued.push(done);
    if (this.queued.length > DEPTH) await this.queued.shift();
  }

  /** Throws what an earlier step threw, once. */
  private raise(): void {
    const { failure } = this;
    this.failure = undefined;
    if (failure !== undefined) throw typed(failure);
  }

  /** Waits for a call that the lane works off after the steps before it. */
  private async after<T>(call: () => Promise<T>): Promise<T> {
    this.raise();
    const result = await coded(call);
    this.raise();
    return result;
  }

  /** Logits [examples, labels or choices], row-major, and the sum of losses over the labelled examples; what the head reads on demand. */
  evaluate(batch: PackedBatch, { states = false } = {}): Promise<NativeEvaluation> {
    return this.after(() => this.handle.evaluate(batch, states));
  }

  /** Logits of the token after each of a batch's, [T, vocab], row-major. */
  logits(batch: PackedBatch): Promise<Float32Array> {
    return this.after(() => this.handle.logits(batch));
  }

  /** Begins to generate so many sequences, forgetting others. */
  begin(sequences: number): Promise<void> {
    return this.after(() => this.handle.begin(sequences));
  }

  /** Goes on with more tokens of each: logits of what comes after the last of them, [B, vocab]. */
  next(batch: PackedBatch): Promise<Float32Array> {
    return this.after(() => this.handle.next(batch));
  }

  /** Sequence b becomes what sequence from[b] is. */
  choose(from: number[]): Promise<void> {
    return this.after(() => this.handle.choose(from));
  }

  /** Of the steps since the last call. */
  metrics(): Promise<StepMetrics> {
    return this.after(() => this.handle.metrics());
  }

  scores(): Promise<RawScores> {
    return this.after(() => this.handle.scores());
  }

  /** Everything trainable. */
  tensors(part: Part = 'value'): Promise<NamedTensor[]> {
    return this.after(() => this.handle.tensors(part));
  }

  /** @throws {LightPeftError} BAD_ADAPTER when a name or size does not fit; nothing is changed then */
  setTensors(tensors: Pick<NamedTensor, 'name' | 'data'>[], part: Part = 'value'): Promise<void> {
    return this.after(() => this.handle.setTensors(tensors, part));
  }

  /** How many threads its operations run on. */
  threads(): Promise<number> {
    return this.after(() => this.handle.threads());
  }

  state(): Promise<SessionState> {
    return this.after(() => this.handle.state());
  }

  setState(state: SessionState): Promise<void> {
    return this.after(() => this.handle.setState(state));
  }

  /**
   * What a session over a cut of this one's model has lost, as far as the rest can give it back.
   * @param small stays as it is, and must have nothing else to do
   * @param rank of each correction, at most
   */
  reconstruct(small: Session, batches: PackedBatch[], rank: number): Promise<LayerReconstruction[]> {
    return small.after(() => this.after(() => this.handle.reconstruct(small.handle, batches, rank)));
  }

  dispose(): void {
    this.handle.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}
