import type { AdapterInfo } from './adapter/info.ts';
import { layerCuts } from './adapter/delta.ts';
import { kindOfAdapter } from './adapter/files.ts';
import { readLightAdapter } from './adapter/light.ts';
import { readPeftAdapter } from './adapter/peft.ts';
import { readingOf } from './data/reading.ts';
import { isReordered, type LabelSet, outputsFor } from './data/labels.ts';
import { begun, type Session } from './engine.ts';
import { LightPeftError } from './errors.ts';
import type { NamedTensor } from './native.ts';
import { parsePlan } from './plan/plan.ts';
import { headOf } from './head-tensors.ts';
import { outputsOf } from './task-head.ts';
import type { Workbench } from './workbench.ts';

/** A model with all that was trained on it. */
export interface Loaded {
  session: Session;
  info?: AdapterInfo | null;
  labels: LabelSet;
  kept?: { heads: number[]; neurons: number[] }[];
}

const named = (tensors: Map<string, { shape: number[]; data: Float32Array }>): NamedTensor[] =>
  [...tensors].map(([name, { shape, data }]) => ({ name, shape, data }));

/** Class names: those given, learned, or a task's, or as many numbers as the head has outputs; one output is a value. */
function labelsOf(
  bench: Workbench,
  names: string[] | null | undefined,
  outputs: number,
  where: string,
  info?: AdapterInfo | null,
): LabelSet {
  const asked = bench.reading.labels;
  const { labelNames, task } = bench.settings;
  const { told } = bench.checkpoint.spec;
  if (told === 'spans')
    return { kind: 'spans', unanswerable: (info ?? bench.checkpoint.trained).unanswerable ?? false };
  const choices = asked?.kind === 'choices' || !info ? asked : readingOf(info.reads).labels;
  if (outputs === 1 && choices?.kind === 'choices') return choices;
  if (told === 'choices')
    throw new LightPeftError(
      'BAD_OPTION',
      'this model tells texts apart; --task or --choice-columns must say which',
    );
  if (asked?.kind === 'classes' || asked?.kind === 'regression') {
    const count = outputsFor(asked);
    if (count !== outputs)
      throw new LightPeftError(
        'BAD_OPTION',
        `${task ? 'the task' : labelNames ? '--label-names' : '--metric'} tells ${count === 1 ? 'a value' : `${count} labels apart`}, and what was trained ${outputs === 1 ? 'a value' : outputs}`,
      );
  }
  if (outputs === 1 && told === 'classes') return { kind: 'regression' };
  const said = asked && 'names' in asked ? asked.names : undefined;
  if (said && names && isReordered(said, names))
    throw new LightPeftError(
      'BAD_OPTION',
      `${labelNames ? '--label-names' : `--task ${task}`}: ${where} has learned ${names.join(', ')}, in this order`,
    );
  const labels = labelNames ?? names ?? said ?? Array.from({ length: outputs }, (_, i) => String(i));
  if (labels.length !== outputs)
    throw new LightPeftError('BAD_LABEL', `${labels.length} label names for a head of ${outputs} outputs`);
  return { kind: told, names: labels };
}

const trainedHead = (tensors: Map<string, { shape: number[] }>, where: string): number => {
  const outputs = outputsOf(tensors);
  if (outputs === undefined) throw new LightPeftError('BAD_ADAPTER', `${where} has no trained task head`);
  return outputs;
};

/** What an adapter tells. */
function adapterLabels(
  bench: Workbench,
  tensors: Map<string, { shape: number[] }>,
  adapter: string,
  info: AdapterInfo | null,
  asked: LabelSet | undefined,
): LabelSet {
  const headed = outputsOf(tensors) !== undefined;
  // Python's PEFT leaves no word of it, and no head.
  if (info?.tells === 'tokens' || (asked?.kind === 'tokens' && !headed)) return { kind: 'tokens' };
  if (asked?.kind === 'tokens')
    throw new LightPeftError('BAD_OPTION', `${adapter} tells labels, not what comes next; see predict`);
  return labelsOf(bench, info?.labels, trainedHead(tensors, adapter), adapter, info);
}

/**
 * @throws {LightPeftError} BAD_PLAN or BAD_ADAPTER: the adapter says that it belongs to another base; BAD_OPTION: what it
 *   tells is something else than the base was opened for
 */
function checkBase({ checkpoint, settings }: Workbench, adapter: string, info: AdapterInfo | null): void {
  const told = info?.tells ?? 'tokens';
  if (told !== 'tokens' && told !== checkpoint.spec.told)
    throw new LightPeftError('BAD_OPTION', `${adapter} tells ${told}, not ${checkpoint.spec.told}`);
  if (!info || info.fingerprint === checkpoint.fingerprint) return;
  const code = kindOfAdapter(adapter) === 'light' ? 'BAD_PLAN' : 'BAD_ADAPTER';
  throw new LightPeftError(
    code,
    `${adapter} was made for another base, ${info.base}, and does not fit ${settings.model}`,
  );
}

/**
 * A checkpoint with its own head, a base with a Hugging Face PEFT adapter, or a base with a light adapter.
 * @param asked what is to be told, where that is known
 * @throws {LightPeftError} BAD_OPTION: it tells something else
 */
export async function load(
  bench: Workbench,
  adapter: string | undefined,
  asked = bench.reading.labels,
): Promise<Loaded> {
  const { model } = bench.settings;
  if (adapter === undefined && asked?.kind === 'tokens')
    return { session: bench.session(bench.model, asked, []), labels: asked };
  if (adapter === undefined) {
    const own = await headOf(bench.checkpoint);
    const outputs = outputsOf(own);
    if (outputs === undefined)
      throw new LightPeftError(
        'BAD_OPTION',
        `${model} has no trained task head; pass --adapter, or train one first, or --completion-column for what a decoder says`,
      );
    const labels = labelsOf(bench, bench.checkpoint.labels, outputs, model);
    const session = await begun(bench.session(bench.model, labels, []), (one) => one.setTensors(named(own)));
    return { session, labels };
  }

  if (kindOfAdapter(adapter) === 'peft') {
    const peft = await readPeftAdapter(adapter, bench.family);
    checkBase(bench, adapter, peft.info);
    const labels = adapterLabels(bench, peft.tensors, adapter, peft.info, asked);
    const modules = bench.modulesOf(
      (name) => peft.tensors.get(`${name}.lora_A.weight`)?.shape[0],
      peft.scale,
    );
    const session = await begun(bench.session(bench.model, labels, modules), (one) =>
      one.setTensors(named(peft.tensors)),
    );
    return { session, labels, info: peft.info };
  }

  const light = await readLightAdapter(adapter);
  checkBase(bench, adapter, light.info);
  const { layers, heads, ffn } = bench.checkpoint.spec;
  const { fingerprint } = bench.checkpoint;
  const plan = parsePlan(light.plan, { fingerprint, layers, heads, ffn });
  using small = await bench.model.cut(layerCuts(plan, light.delta), { threads: bench.settings.threads });
  const labels = adapterLabels(bench, light.tensors, adapter, light.info, asked);
  const ranks = new Map(plan.modules.map(({ name, ranks }) => [name, ranks.length]));
  const modules = bench.modulesOf(
    (name) => ranks.get(name),
    () => light.info.alpha / light.info.r,
  );
  const session = await begun(bench.session(small, labels, modules), (one) =>
    one.setTensors(named(light.tensors)),
  );
  return { session, labels, kept: plan.layers, info: light.info };
}
