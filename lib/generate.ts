import { badAdapter, kindOfAdapter } from './adapter/files.ts';
import { layerCuts } from './adapter/delta.ts';
import { readLightAdapter } from './adapter/light.ts';
import { readPeftAdapter } from './adapter/peft.ts';
import { Random } from './data/random.ts';
import { begun, type Session } from './engine.ts';
import { LightPeftError } from './errors.ts';
import { endsOf } from './generation/ends.ts';
import { beamSearch } from './generation/beams.ts';
import { drawn } from './generation/sampling.ts';
import { continued, greatest } from './generation/tokens.ts';
import { checkBase, modulesOf } from './loaded.ts';
import { type Options, needed, settle, type Settings } from './options.ts';
import { parsePlan } from './plan/plan.ts';
import type { RunOptions } from './run.ts';
import { Workbench } from './workbench.ts';

/** A prompt and how it goes on. */
export interface Generated {
  prompt: string;
  /** What comes after the prompt. */
  text: string;
  tokens: number[];
}

/**
 * What an adapter of LoRA alone has.
 * @throws {LightPeftError} BAD_OPTION: it tells labels; BAD_ADAPTER: it has trained something else, such as embeddings
 */
function branches(tensors: ReadonlyMap<string, { data: Float32Array }>, adapter: string) {
  const all = [...tensors];
  if (all.some(([name]) => name.startsWith('classifier.')))
    throw new LightPeftError(
      'BAD_OPTION',
      `--adapter: ${adapter} tells labels, and says nothing; see predict`,
    );
  const other = all.find(([name]) => !name.includes('.lora_'))?.[0];
  if (other !== undefined) throw badAdapter(`${adapter}: ${other} is no part of LoRA, and is not supported`);
  return all.map(([name, { data }]) => ({ name, data }));
}

/** A base that tells the next token, with an adapter of either kind. */
async function languageSession(bench: Workbench, adapter: string | undefined): Promise<Session> {
  if (adapter === undefined) return bench.languageSession(bench.model, []);
  if (kindOfAdapter(adapter) === 'peft') {
    const peft = await readPeftAdapter(adapter, bench.family);
    checkBase(bench, adapter, peft.info);
    const rankOf = (name: string) => peft.tensors.get(`${name}.lora_A.weight`)?.shape[0];
    const session = bench.languageSession(bench.model, modulesOf(bench, rankOf, peft.scale));
    return begun(session, (one) => one.setTensors(branches(peft.tensors, adapter)));
  }
  const light = await readLightAdapter(adapter);
  checkBase(bench, adapter, light.info);
  const { layers, heads, ffn } = bench.checkpoint.spec;
  const plan = parsePlan(light.plan, { fingerprint: bench.checkpoint.fingerprint, layers, heads, ffn });
  using small = await bench.model.cut(layerCuts(plan, light.delta), { threads: bench.settings.threads });
  const ranks = new Map(plan.modules.map(({ name, ranks: kept }) => [name, kept.length]));
  const scale = light.info.alpha / light.info.r;
  const modules = modulesOf(
    bench,
    (name) => ranks.get(name),
    () => scale,
  );
  return begun(bench.languageSession(small, modules), (one) =>
    one.setTensors(branches(light.tensors, adapter)),
  );
}

function chooserOf(settings: Settings): (logits: Float32Array, prompt: number) => number {
  if (!settings.sample) return greatest;
  const { temperature, topK, topP, seed } = settings;
  const streams = new Map<number, Random>();
  return (logits, prompt) => {
    const random = streams.get(prompt) ?? new Random(seed, prompt);
    streams.set(prompt, random);
    return drawn(logits, { temperature, topK, topP }, random);
  };
}

/**
 * Continues prompts with a decoder, all at once.
 * @throws {LightPeftError} BAD_OPTION: the model tells no next token, or a prompt leaves no room
 */
export async function generate(options: Options, run: RunOptions = {}): Promise<Generated[]> {
  const settings = settle(options);
  const prompts = needed(settings, 'prompt');
  if (settings.sample && settings.beams > 1)
    throw new LightPeftError('BAD_OPTION', '--sample and --beams exclude each other');
  using bench = await Workbench.open(settings, run);
  const { spec, folder } = bench.checkpoint;
  const encoded = await bench.tokenizer.encode(
    prompts.map((prompt): [string] => [prompt]),
    { maxLength: spec.maxLength },
  );
  const longest = Math.max(...encoded.map(({ ids }) => ids.length));
  if (longest + settings.maxNewTokens > spec.maxLength)
    throw new LightPeftError(
      'BAD_OPTION',
      `--max-new-tokens: ${settings.maxNewTokens} after a prompt of ${longest} tokens are more than the ${spec.maxLength} that the model is for`,
    );
  const empty = encoded.findIndex(({ ids }) => ids.length === 0);
  if (empty >= 0) throw new LightPeftError('BAD_DATA', `prompt ${empty + 1} has no token`);
  const { maxNewTokens, beams, lengthPenalty } = settings;
  const ends = new Set(await endsOf(folder));
  const { signal } = run;
  const limits = { maxNewTokens, ends, vocab: spec.vocab, signal };
  const ids = encoded.map((tokens) => [...tokens.ids]);
  using session = await languageSession(bench, settings.adapter);
  const found =
    beams > 1
      ? await beamSearch(session, ids, { ...limits, beams, lengthPenalty })
      : await continued(session, ids, chooserOf(settings), limits);
  return Promise.all(
    found.map(async (tokens, i) => ({
      prompt: prompts[i]!,
      text: await bench.tokenizer.decodeAfter(ids[i]!, tokens),
      tokens,
    })),
  );
}
