import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { writeInitial } from './checkpoint/initial.ts';
import { CONFIG } from './checkpoint/config.ts';
import { checkOwn, writeCheckpoint } from './checkpoint/written.ts';
import { type EncodedExample, packBatch } from './data/batches.ts';
import { readBlocks } from './data/blocks.ts';
import type { Dataset } from './data/dataset.ts';
import { masked, type Masking, shifted } from './data/masking.ts';
import { Random } from './data/random.ts';
import { LightPeftError } from './errors.ts';
import { stepsOf } from './fit.ts';
import { endsOf } from './generation/ends.ts';
import { needed, type Options, type Settings, settle } from './options.ts';
import type { RunOptions } from './run.ts';
import { STATE } from './training-state.ts';
import { Tokenizer } from './tokenizer.ts';
import { checkModelPlace, type Phase, runTraining } from './training.ts';
import { alone, makeFolder, removeFolder, whole } from './result-folder.ts';
import type { Report, Workbench } from './workbench.ts';

/** Where a model with random weights lies until it is trained. */
const INITIAL = 'initial';

/** Of an encoder; undefined: a decoder tells the next token. */
async function maskingOf({ checkpoint, tokenizer, settings }: Workbench): Promise<Masking | undefined> {
  if (checkpoint.spec.causal) {
    if (settings.causalShare > 0)
      throw new LightPeftError(
        'BAD_OPTION',
        '--causal-share: a decoder never tells anything but the next token',
      );
    return undefined;
  }
  const mask = tokenizer.maskId;
  if (mask === undefined)
    throw new LightPeftError(
      'BAD_TOKENIZER',
      `${settings.model}: the tokenizer has no token that masks others`,
    );
  const { before, after } = await tokenizer.frame();
  const special = new Set([...before, ...after, mask]);
  return { rate: settings.maskRate, mask, vocab: tokenizer.vocabSize, special };
}

/** Blocks of a file's texts. Those that are validated tell the same tokens each time. */
async function blocksOf(bench: Workbench, file: string, validates: boolean): Promise<Dataset> {
  const { settings, tokenizer, checkpoint } = bench;
  bench.checkLanguage(!checkpoint.spec.causal);
  const maxLength = bench.maxLength();
  const masking = await maskingOf(bench);
  const frame = await tokenizer.frame();
  const end = masking ? frame.after[0] : (await endsOf(settings.model))[0];
  const [column = 'text', more] = settings.textColumns ?? [];
  if (more !== undefined) throw new LightPeftError('BAD_OPTION', '--text-columns: one column has the texts');
  const blocks = await readBlocks(file, column, tokenizer, { maxLength, frame, end });
  const told = (block: EncodedExample, i: number) =>
    masking ? masked(block, new Random(settings.seed, i), masking) : shifted(block);
  return {
    examples: validates ? blocks.map(told) : blocks,
    labels: { kind: 'tokens', masked: masking !== undefined },
    metrics: ['accuracy', 'perplexity'],
    truncated: 0,
    maxLength,
  };
}

/** @param initial what was written for this run alone, with a digest of what it was made from */
const phaseFor = (initial?: { folder: string; source: string }): Phase => ({
  name: 'pretrain',
  read: blocksOf,
  async begin(bench, { labels, examples }) {
    const { settings } = bench;
    const masking = await maskingOf(bench);
    const first = Math.round(settings.causalShare * stepsOf(examples.length, settings));
    return {
      session: bench.session(bench.model, labels, []),
      identity: { source: initial?.source ?? '' },
      pack: (chosen, step, micro) => {
        if (!masking || step < first) return { ...packBatch(chosen.map(shifted)), causal: true };
        const random = new Random(settings.seed, step, micro);
        return packBatch(chosen.map((one) => masked(one, random, masking)));
      },
    };
  },
  steps: stepsOf,
  writes: 'model',
  async save(bench, out, _, { tensors, steps }) {
    await writeCheckpoint(out, bench.settings.model, bench.family, tensors, { told: 'tokens' });
    // A run that was stopped goes on from there.
    if (initial && steps > 0) await removeFolder(initial.folder);
  },
  savesUnfinished: true,
});

/** By their usual names. */
const WEIGHTS = /^(model|pytorch_model)(-\d+-of-\d+)?\.(safetensors|bin)(\.index\.json)?$/;

const hasWeights = async (folder: string): Promise<boolean> =>
  (await readdir(folder).catch((): string[] => [])).some((name) => WEIGHTS.test(name));

/**
 * Trains all weights of a model on texts: encoders on masked tokens (Devlin et al. 2019), decoders on the next one; from
 * its weights, or, where it has none or is told so, from random ones.
 */
export async function pretrain(options: Options, run: RunOptions = {}): Promise<Report> {
  if (options.peft === 'lora')
    throw new LightPeftError('BAD_OPTION', '--peft lora: all weights are pretrained');
  const settings = settle({ ...options, peft: 'none' });
  const { model, scratch } = settings;
  await whole(model);
  const config = join(model, CONFIG);
  if (!existsSync(config) || (!scratch && (await hasWeights(model))))
    return runTraining({ ...options, peft: 'none' }, run, phaseFor());
  const out = needed(settings, 'out');
  await checkModelPlace(model, out);
  // It would be missed there, under another name.
  await Tokenizer.fromFolder(model);
  await makeFolder(out);
  return alone(out, () => fromRandom(options, settings, run));
}

/** From random weights, which lie in `out` until a run is over that need not go on from them. */
async function fromRandom(options: Options, settings: Settings, run: RunOptions): Promise<Report> {
  const { model, resume, seed } = settings;
  const out = needed(settings, 'out');
  const config = join(model, CONFIG);
  const initial = join(out, INITIAL);
  await checkOwn(initial);
  const source = createHash('sha256')
    .update(await readFile(config))
    .digest('hex');
  // A resumed run goes on from the weights that it began with.
  if (!resume || !existsSync(join(initial, CONFIG))) await writeInitial(initial, model, seed);
  run.onNote?.(`begins with random weights, from seed ${seed}`);
  const phase = phaseFor({ folder: initial, source });
  try {
    return await runTraining({ ...options, peft: 'none', model: initial }, run, phase, { held: true });
  } catch (error) {
    // Of no use where there is no state to go on from.
    if (!existsSync(join(out, STATE))) await removeFolder(initial);
    throw error;
  }
}
