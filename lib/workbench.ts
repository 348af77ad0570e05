/// <reference lib="esnext.disposable" preserve="true" />
import { peakMemoryOf } from './device.ts';
import { type AdapterInfo, readInfoIfAny } from './adapter/info.ts';
import type { Family } from './checkpoint/families.ts';
import { type Checkpoint, openCheckpoint } from './checkpoint/folder.ts';
import { sitesOf, type Told } from './checkpoint/spec.ts';
import { type Dataset, readDataset } from './data/dataset.ts';
import { kindOf, type Reading, readingFor, readingOf, readsAgain } from './data/reading.ts';
import { isTokenwise, type LabelSet, outputsFor, toldAs } from './data/labels.ts';
import { Model, Session } from './engine.ts';
import { endsOf } from './generation/ends.ts';
import { LightPeftError } from './errors.ts';
import { type Evaluation } from './evaluation.ts';
import { type ModuleConfig, type NamedTensor, type Part, type SessionConfig } from './native.ts';
import { readsOf, type Settings } from './options.ts';
import { encoderCost, parameterCosts } from './plan/costs.ts';
import { estimatorOf, moduleEstimatorOf, trainsMasks } from './plan/estimators.ts';
import { whole } from './result-folder.ts';
import type { RunOptions } from './run.ts';
import type { TextLengths } from './checkpoint/config.ts';
import { headConfig } from './head-config.ts';
import { frozenHeadOf } from './head-tensors.ts';
import { Tokenizer } from './tokenizer.ts';

/** What every phase prints with --json. */
export interface Report {
  metrics: Record<string, number>;
  seconds: number;
  steps: number;
  tokensPerSecond: number;
  baseParameters: number;
  encoderParameters: number;
  encoderParametersKept: number;
  peftParameters: number;
  headParameters: number;
  peakMemoryBytes: number;
  out: string | null;
  /** Of the validation file alone; null without one. */
  inferenceTokensPerSecond: number | null;
}

/** Whether a module is meant by a target, by PEFT's rule: its full name, or the end of it after a dot. */
export const isTarget = (name: string, target: string): boolean =>
  name === target || name.endsWith(`.${target}`);

/** Of texts, where nothing else is asked for. */
const USUAL_LENGTH = 128;

/** What the head of a run is to tell: what the flags say, or an adapter; undefined: what the checkpoint's own does. */
async function askedOf({ adapter, trainFile }: Settings, reading: Reading): Promise<Told | undefined> {
  const info = adapter === undefined ? null : await readInfoIfAny(adapter);
  const kind = info ? info.tells : kindOf(reading);
  // What is learned is told by the labels, whatever the checkpoint's head is for.
  if (kind === undefined) return trainFile === undefined ? undefined : 'classes';
  return kind === 'choices' || kind === 'tags' || kind === 'spans' ? kind : 'classes';
}

/** The things that every phase starts from: the base, its tokenizer, how rows are read. */
export class Workbench implements Disposable {
  private constructor(
    readonly settings: Settings,
    readonly checkpoint: Checkpoint,
    readonly tokenizer: Tokenizer,
    readonly model: Model,
    readonly reading: Reading,
    /** What of the head is a part of the base. */
    readonly frozenHead: Pick<NamedTensor, 'name' | 'data'>[],
    /** Tells the caller one line. */
    readonly note: (line: string) => void,
  ) {}

  static async open(settings: Settings, { onNote = () => undefined }: RunOptions = {}): Promise<Workbench> {
    const { model: base, adapter, from, teacher } = settings;
    for (const folder of [base, adapter, from, teacher]) if (folder !== undefined) await whole(folder);
    const read = readingOf(settings);
    const checkpoint = await openCheckpoint(settings.model, await askedOf(settings, read));
    const { length } = checkpoint.ignored;
    if (length > 0) {
      const some = checkpoint.ignored.slice(0, 3).join(', ');
      onNote(`${length} tensors of the checkpoint have no use here: ${some}${length > 3 ? ', ...' : ''}`);
    }
    const tokenizer = await Tokenizer.fromFolder(settings.model);
    if (tokenizer.vocabSize > checkpoint.spec.vocab)
      throw new LightPeftError(
        'BAD_TOKENIZER',
        `the tokenizer has ${tokenizer.vocabSize} entries, the model's embeddings ${checkpoint.spec.vocab}`,
      );
    const { dtype, threads, device, tf32 } = settings;
    const model = await Model.load(checkpoint, { dtype, threads, device, tf32 });
    const frozen = await frozenHeadOf(checkpoint);
    const reading = { ...read, end: (await endsOf(settings.model))[0] };
    return new Workbench(settings, checkpoint, tokenizer, model, reading, frozen, onNote);
  }

  read(file: string, labels?: LabelSet): Promise<Dataset> {
    const reading = labels ? readingFor(this.reading, labels, this.settings) : this.reading;
    return this.readAs(reading, file, false, {});
  }

  /** @param lengths those of training, for where no flag says otherwise */
  private readAs(
    reading: Reading,
    file: string,
    unlabelled: boolean,
    lengths: Partial<TextLengths>,
  ): Promise<Dataset> {
    const stride = reading.stride ?? lengths.docStride;
    const maxLength = this.maxLength(lengths);
    return readDataset(file, { ...reading, stride }, this.tokenizer, { maxLength, unlabelled });
  }

  /** Of a text, in tokens. */
  maxLength({ maxLength }: Partial<TextLengths> = {}): number {
    return Math.min(this.settings.maxLength ?? maxLength ?? USUAL_LENGTH, this.checkpoint.spec.maxLength);
  }

  /** As an adapter was trained, where neither a task nor a flag says otherwise. */
  readFor(
    info: AdapterInfo | null | undefined,
    file: string,
    labels: LabelSet,
    unlabelled = false,
  ): Promise<Dataset> {
    const settings = { ...this.settings, ...readsAgain(info?.reads, this.settings) };
    const reading = { ...this.reading, ...readingOf(settings) };
    const asked = kindOf(reading);
    if (asked !== undefined && asked !== toldAs(labels))
      throw new LightPeftError(
        'BAD_OPTION',
        `${settings.adapter ?? settings.model} tells ${labels.kind}, not ${asked}`,
      );
    const lengths = info ?? this.checkpoint.trained;
    return this.readAs(readingFor(reading, labels, settings), file, unlabelled, lengths);
  }

  /** All places of modules, layer by layer. */
  private places(): Pick<ModuleConfig, 'name' | 'layer' | 'site'>[] {
    const { spec } = this.checkpoint;
    return Array.from({ length: spec.layers }, (_, layer) =>
      sitesOf(spec).map((site) => ({ name: this.model.moduleName(layer, site), layer, site })),
    ).flat();
  }

  /** Those that an adapter has. */
  modulesOf(
    rankOf: (name: string) => number | undefined,
    scaleOf: (name: string) => number = () => 1,
  ): ModuleConfig[] {
    return this.places().flatMap((place) => {
      const rank = rankOf(place.name);
      return rank === undefined ? [] : [{ ...place, rank, scale: scaleOf(place.name), dropout: 0 }];
    });
  }

  /**
   * The modules that --target-modules names, all of full rank.
   * @throws {LightPeftError} BAD_OPTION: one of the targets is nowhere in the model
   */
  modules(): ModuleConfig[] {
    const { loraR, loraAlpha, loraDropout } = this.settings;
    const { targetModules } = this;
    const all = this.places();
    const missing = targetModules.find((target) => !all.some(({ name }) => isTarget(name, target)));
    if (missing !== undefined)
      throw new LightPeftError(
        'BAD_OPTION',
        `--target-modules: no module of this model ends in "${missing}"`,
      );
    return all
      .filter(({ name }) => targetModules.some((target) => isTarget(name, target)))
      .map((place) => ({ ...place, rank: loraR, scale: loraAlpha / loraR, dropout: loraDropout }));
  }

  /** @param prefixCache MiB for what the layers below the lowest module make of the training texts */
  session(
    model: Model,
    labels: LabelSet,
    modules: ModuleConfig[],
    { masks = false, prefixCache = 0, optimizerSteps = 0 } = {},
  ): Session {
    const { settings } = this;
    this.checkDistillation(labels);
    if (labels.kind === 'tokens') this.checkLanguage(labels.masked ?? false);
    const learned = masks && trainsMasks(estimatorOf(settings));
    const config: SessionConfig = {
      modules,
      full: this.full,
      told:
        labels.kind === 'tags' || labels.kind === 'spans' || labels.kind === 'tokens'
          ? labels.kind
          : 'labels',
      head: headConfig(this.checkpoint.spec, outputsFor(labels), !this.full && this.frozenHead.length > 0),
      choices: labels.kind === 'choices' ? labels.count : 1,
      regression: labels.kind === 'regression',
      masks,
      headMaskRate: learned ? settings.headMaskLr : 0,
      neuronMaskRate: learned ? settings.neuronMaskLr : 0,
      l1Heads: learned ? settings.l1Heads : 0,
      l1Neurons: learned ? settings.l1Neurons : 0,
      ratios: masks && moduleEstimatorOf(settings) === 'ratio',
      prefixCacheBytes: prefixCache * 2 ** 20,
      prefixCacheFolder: settings.out ?? '',
      adamBeta2: settings.adamBeta2,
      weightDecay: settings.weightDecay,
      maxGradNorm: settings.maxGradNorm,
      optimizerSteps,
      distill: settings.distill,
      distillTemperature: settings.distillTemperature,
      distillStates: settings.distillStates,
      smallerBatches: settings.smallerBatches,
      graphs: settings.graphs,
      seed: settings.seed,
    };
    const session = new Session(model, config, { threads: settings.threads });
    // Before all that is asked of it later; names and sizes are the engine's own.
    if (labels.kind !== 'tokens' && this.frozenHead.length > 0) void session.setTensors(this.frozenHead);
    return session;
  }

  /** Whether the model itself is trained. */
  get full(): boolean {
    return this.settings.peft === 'none';
  }

  /** @throws {LightPeftError} BAD_OPTION: the model does not tell the token that comes next, or was masked */
  checkLanguage(masked: boolean): void {
    const { spec, tensors } = this.checkpoint;
    if (masked && !tensors.has('vocabulary.bias'))
      throw new LightPeftError(
        'BAD_OPTION',
        `${this.settings.model} has no weights that tell masked tokens; --scratch begins with random ones`,
      );
    if (masked) return;
    if (!spec.causal || (spec.vocabulary !== 'tied' && !tensors.has('vocabulary.weight')))
      throw new LightPeftError(
        'BAD_OPTION',
        `${this.settings.model} ${spec.causal ? 'has no weights that tell' : 'is an encoder, and does not tell'} the next token`,
      );
  }

  /** @throws {LightPeftError} BAD_OPTION: what a teacher says of each token is not learned */
  private checkDistillation(labels: LabelSet): void {
    const { distill, distillStates } = this.settings;
    if (isTokenwise(labels) && (distill > 0 || distillStates > 0))
      throw new LightPeftError('BAD_OPTION', '--distill: what a teacher says of each token is not learned');
  }

  /** What of a session is trained here, and no part of the base. */
  async trained(session: Session, part?: Part): Promise<NamedTensor[]> {
    const frozen = new Set(this.full ? [] : this.frozenHead.map(({ name }) => name));
    return (await session.tensors(part)).filter(({ name }) => !frozen.has(name));
  }

  adapterInfo({ labels }: Dataset): AdapterInfo {
    const { settings } = this;
    return {
      base: settings.model,
      fingerprint: this.checkpoint.fingerprint,
      tells: toldAs(labels),
      labels: labels.kind === 'classes' || labels.kind === 'tags' ? labels.names : null,
      ...(labels.kind === 'spans' && { unanswerable: labels.unanswerable ?? false }),
      reads: readsOf(settings),
      maxLength: settings.maxLength ?? USUAL_LENGTH,
      ...(settings.docStride !== undefined && { docStride: settings.docStride }),
      r: settings.loraR,
      alpha: settings.loraAlpha,
      dropout: settings.loraDropout,
      targetModules: this.targetModules,
    };
  }

  get family(): Family {
    return this.checkpoint.family;
  }

  /** Ends of the names of modules that LoRA sits at: those asked for, else all of the family's. */
  get targetModules(): string[] {
    return this.settings.targetModules ?? [...this.family.targets];
  }

  /** Parameters of the encoder's layers, without embeddings, for the heads and neurons kept of each. */
  encoderParameters(kept?: { heads: number[]; neurons: number[] }[]): number {
    const { spec } = this.checkpoint;
    const whole = { heads: { length: spec.heads }, neurons: { length: spec.ffn } };
    const layers = kept ?? Array.from({ length: spec.layers }, () => whole);
    return encoderCost(parameterCosts(spec), layers);
  }

  report(
    run: { seconds: number; steps: number; tokensPerSecond: number },
    evaluation: Evaluation | undefined,
    tensors: NamedTensor[],
    kept?: { heads: number[]; neurons: number[] }[],
  ): Report {
    const { spec } = this.checkpoint;
    const count = (prefix: string) =>
      tensors.filter(({ name }) => name.includes(prefix)).reduce((sum, { data }) => sum + data.length, 0);
    const encoder = this.encoderParameters();
    return {
      metrics: evaluation?.metrics ?? {},
      ...run,
      baseParameters: encoder + (spec.vocab + spec.positions + spec.typeVocab + 2) * spec.hidden,
      encoderParameters: encoder,
      encoderParametersKept: this.encoderParameters(kept),
      peftParameters: count('.lora_'),
      headParameters: count('classifier.'),
      peakMemoryBytes: peakMemoryOf(this.model.device),
      out: this.settings.out ?? null,
      inferenceTokensPerSecond: evaluation?.tokensPerSecond ?? null,
    };
  }

  dispose(): void {
    this.model.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}
