import { join } from 'node:path';
import { randomCheckpoint } from './checkpoint.ts';
import { Contender, type Measured } from './contender.ts';
import { devicePeaks, gemmPeak, opTimes } from './ops.ts';
import { activationMinimum, flopsOf } from './flops.ts';
import { quantile, type Result } from './report.ts';
import { SHAPES } from './shapes.ts';
import { type Case, type Contenders, lightLayers, type Suite, wholeLayers } from './suites.ts';
import type { PeerWork, Work } from './work.ts';

export interface Settings {
  root: string;
  cache: string;
  python: string;
  threads: number;
  /** cpu or cuda:N */
  device: string;
  graphs: boolean;
  say: (line: string) => void;
}

const isPeer = (name: Contenders) => name.startsWith('hf-') || name === 'reference-setting';

/** Of what its dropout stands for. */
const loraDropoutOf = ({ dropout }: Case) => dropout / 2;

async function start(
  name: Contenders,
  suite: Suite,
  of: Case,
  settings: Settings,
): Promise<{ contender: Contender; work: Work }> {
  const folder = await randomCheckpoint(settings.cache, of.shape, of.dropout);
  const light = name === 'light-peft-light';
  const kind =
    name === 'light-peft-estimate'
      ? 'estimate'
      : name === 'light-peft-estimate-paper'
        ? 'estimate-paper'
        : suite.kind;
  const layers = light ? lightLayers(of.shape) : wholeLayers(of.shape);
  const { threads, device, graphs } = settings;
  const work: Work = {
    kind,
    folder,
    layers,
    light,
    loraDropout: loraDropoutOf(of),
    batches: of.batches,
    repeats: of.repeats ?? 1,
    threads,
    device,
    graphs,
  };
  const env = threads ? { OMP_NUM_THREADS: String(threads) } : {};
  if (!isPeer(name)) {
    const args = ['--import', 'tsx', join(import.meta.dirname, 'worker.ts'), JSON.stringify(work)];
    return { contender: await Contender.start(name, process.execPath, args, env), work };
  }
  const peer: PeerWork = {
    ...work,
    dtype: name === 'hf-peft-fp32' || name === 'reference-setting' ? 'float32' : 'bfloat16',
    compile: name === 'hf-peft-compiled',
    padTo: name === 'reference-setting' ? 128 : 0,
  };
  const args = [join(import.meta.dirname, 'hf_peft.py'), JSON.stringify(peer)];
  return { contender: await Contender.start(name, settings.python, args, env), work };
}

/** Hugging Face computes padded texts, and the whole of the last layer. */
function executed(name: Contenders, of: Case, suite: Suite, work: Work): number {
  const count = (lengths: number[]) => {
    const width = name === 'reference-setting' ? 128 : Math.max(...lengths);
    const done = isPeer(name) ? lengths.map(() => width) : lengths;
    const how = { train: suite.kind === 'train', firstsOnly: !isPeer(name) };
    return flopsOf(SHAPES[of.shape], work.layers, done, how);
  };
  return of.batches.reduce((sum, lengths) => sum + count(lengths), 0);
}

/**
 * Of attention in both passes over a batch of texts of one length; the last layer's, which has one query for each text,
 * is not counted.
 */
async function attentionSeconds({ root, device }: Settings, { shape, batches }: Case): Promise<number> {
  const [lengths] = batches;
  const times = await opTimes(root, device, shape, lengths!.length, lengths![0]!);
  const layer = times
    .filter(({ op }) => op.startsWith('attention'))
    .reduce((sum, { seconds }) => sum + seconds, 0);
  return layer * (SHAPES[shape].layers - 1);
}

/**
 * GFLOP/s that the device reaches at most. The processor's at the sizes of the case, in every round, as other machines
 * share it; a GPU's at the size that suits it best, in the first round alone, as each measurement starts the driver anew.
 */
async function peakOf(round: number, { root, device }: Settings, of: Case): Promise<number[]> {
  if (device === 'cpu') {
    const tokens = of.batches[0]!.reduce((sum, n) => sum + n, 0);
    return [await gemmPeak(root, of.shape, tokens)];
  }
  return round === 0 ? [(await devicePeaks(root, device)).flops / 1e9] : [];
}

interface Running {
  contender: Contender;
  work: Work;
  rounds: Measured[];
}

/** Begins each contender, into `running`; those that do not start are left out and named. */
async function startEach(
  running: Running[],
  suiteName: string,
  suite: Suite,
  of: Case,
  settings: Settings,
): Promise<void> {
  for (const name of suite.contenders(of)) {
    settings.say(`${suiteName} ${of.name}, dropout ${of.dropout}: starting ${name}`);
    try {
      running.push({ ...(await start(name, suite, of, settings)), rounds: [] });
    } catch (error) {
      settings.say(`${name} is not available: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  if (running.length === 0) throw new Error(`${suiteName} ${of.name}: no contender is available`);
}

/** Contenders and the machine's own products take turns, each after the other in every round; returns GFLOP/s of the latter. */
async function takeTurns(running: Running[], of: Case, settings: Settings): Promise<number> {
  const peaks: number[] = [];
  for (let round = 0; round < of.rounds; round++) {
    peaks.push(...(await peakOf(round, settings, of)));
    for (const { contender, rounds } of running) rounds.push(await contender.measure());
  }
  return quantile(peaks, 0.5);
}

/** Measures all that a suite has for a case. */
export async function runCase(
  suiteName: string,
  suite: Suite,
  of: Case,
  settings: Settings,
): Promise<{ results: Result[]; peak: number }> {
  const running: Running[] = [];
  try {
    await startEach(running, suiteName, suite, of, settings);
    const peak = await takeTurns(running, of, settings);
    const attention = suite.attention ? await attentionSeconds(settings, of) : undefined;
    const first = quantile(
      running[0]!.rounds.map((one) => one.seconds),
      0.5,
    );
    const results: Result[] = [];
    for (const { contender, work, rounds } of running) {
      const { peakMemoryBytes, activationBytes, note } = await contender.end();
      const seconds = rounds.map((one) => one.seconds);
      const medianSeconds = quantile(seconds, 0.5);
      const gflops = executed(contender.name as Contenders, of, suite, work) / medianSeconds / 1e9;
      results.push({
        suite: suiteName,
        case: of.name,
        contender: contender.name,
        dropout: of.dropout,
        medianSeconds,
        spread: (quantile(seconds, 0.75) - quantile(seconds, 0.25)) / medianSeconds,
        tokensPerSecond: rounds[0]!.tokens / medianSeconds,
        paddedTokensPerSecond: rounds[0]!.paddedTokens / medianSeconds,
        gflops,
        peakShare: gflops / peak,
        ...(attention !== undefined && { attentionShare: attention / medianSeconds }),
        peakMemoryBytes,
        ...(activationBytes && {
          activationBytes,
          activationMinimumBytes: activationMinimum(SHAPES[of.shape], work.layers, of.batches),
        }),
        ratio: medianSeconds / first,
        note,
      });
    }
    return { results, peak };
  } finally {
    for (const { contender } of running) contender.stop();
  }
}
