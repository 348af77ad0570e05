import { Random } from './data/random.ts';
import { LightPeftError } from './errors.ts';
import { endsOf } from './generation/ends.ts';
import { beamSearch } from './generation/beams.ts';
import { drawn } from './generation/sampling.ts';
import { continued, greatest } from './generation/tokens.ts';
import { load } from './loaded.ts';
import { flagOf, type Options, needed, settle, type Settings } from './options.ts';
import type { RunOptions } from './run.ts';
import { Workbench } from './workbench.ts';

/** A prompt and how it goes on. */
export interface Generated {
  prompt: string;
  /** What comes after the prompt. */
  text: string;
  tokens: number[];
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
 * @throws {LightPeftError} BAD_OPTION: the model or the adapter tells no next token, or a prompt leaves no room
 */
export async function generate(options: Options, run: RunOptions = {}): Promise<Generated[]> {
  const settings = settle(options);
  const prompts = needed(settings, 'prompt');
  const idle = (['temperature', 'topK', 'topP'] as const).filter((name) => options[name] !== undefined);
  if (idle.length > 0 && !settings.sample)
    run.onNote?.(`${idle.map(flagOf).join(', ')}: of no use without --sample`);
  if (options.lengthPenalty !== undefined && settings.beams === 1)
    run.onNote?.('--length-penalty: of no use without --beams');
  if (settings.sample && settings.beams > 1)
    throw new LightPeftError('BAD_OPTION', '--sample and --beams exclude each other');
  using bench = await Workbench.open(settings, run);
  const { spec, folder } = bench.checkpoint;
  // A prompt does not end yet, whatever its tokenizer ends texts with.
  const { after } = await bench.tokenizer.frame();
  const encoded = await bench.tokenizer.encode(
    prompts.map((prompt): [string] => [prompt]),
    { maxLength: spec.maxLength + after.length },
  );
  const ids = encoded.map((tokens) => [...tokens.ids.subarray(0, tokens.ids.length - after.length)]);
  const longest = Math.max(...ids.map(({ length }) => length));
  if (longest + settings.maxNewTokens > spec.maxLength)
    throw new LightPeftError(
      'BAD_OPTION',
      `--max-new-tokens: ${settings.maxNewTokens} after a prompt of ${longest} tokens are more than the ${spec.maxLength} that the model is for`,
    );
  const empty = ids.findIndex(({ length }) => length === 0);
  if (empty >= 0) throw new LightPeftError('BAD_DATA', `prompt ${empty + 1} has no token`);
  const { maxNewTokens, beams, lengthPenalty } = settings;
  const ends = new Set(await endsOf(folder));
  const { signal } = run;
  const limits = { maxNewTokens, ends, vocab: spec.vocab, signal };
  const { session: loaded } = await load(bench, settings.adapter, { kind: 'tokens' });
  using session = loaded;
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
