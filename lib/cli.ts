import { Command, CommanderError, Option } from 'commander';
import { LightPeftError, messageOf } from './errors.ts';
import { estimate } from './estimate.ts';
import { evaluate, predict } from './evaluate.ts';
import type { Options } from './options.ts';
import { progressTo } from './progress.ts';
import type { RunOptions } from './run.ts';
import { train, vanillaTrain } from './train.ts';
import { writeWhole } from './whole-file.ts';
import type { Report } from './workbench.ts';

const number = (text: string): number => {
  const value = Number(text);
  if (text.trim() === '' || Number.isNaN(value))
    throw new LightPeftError('BAD_OPTION', `"${text}" is not a number`);
  return value;
};
const list = (text: string): string[] => text.split(',').map((item) => item.trim());

type Parser = (text: string) => unknown;
const FLAGS: [flag: string, help: string, parse?: Parser][] = [
  ['--model <folder>', 'Hugging Face checkpoint'],
  ['--task <name>', 'named task: columns, class names and metrics'],
  ['--train-file <file>', 'JSONL, TSV or CSV'],
  ['--validation-file <file>', 'JSONL, TSV or CSV'],
  ['--input <file>', 'what predict reads'],
  ['--text-columns <names>', 'one or two, by comma', list],
  ['--label-column <name>', 'column of the label'],
  ['--label-names <names>', 'class names, by comma', list],
  ['--metric <name>', 'accuracy, f1, macro_f1, matthews_correlation, pearson, spearmanr'],
  ['--peft <kind>', 'lora'],
  ['--lora-r <n>', 'rank', number],
  ['--lora-alpha <x>', 'alpha', number],
  ['--lora-dropout <p>', 'dropout before A', number],
  ['--target-modules <names>', "ends of module names, by PEFT's rule", list],
  ['--max-length <n>', 'longest text in tokens', number],
  ['--batch-size <n>', 'texts per micro-batch', number],
  ['--learning-rate <x>', 'peak of the schedule', number],
  ['--epochs <n>', 'passes over the training file', number],
  ['--max-steps <n>', 'optimizer steps, over --epochs', number],
  ['--gradient-accumulation-steps <n>', 'micro-batches per step', number],
  ['--max-grad-norm <x>', '0: no clipping', number],
  ['--warmup-ratio <x>', 'share of the steps', number],
  ['--weight-decay <x>', 'of AdamW', number],
  ['--l1 <x>', 'weight of the L1 norm of the masks', number],
  ['--head-mask-lr <x>', 'multiplier of the learning rate', number],
  ['--neuron-mask-lr <x>', 'multiplier of the learning rate', number],
  ['--head-ratio <x>', 'share of heads to cut', number],
  ['--neuron-ratio <x>', 'share of FFN neurons to cut', number],
  ['--module-ratio <x>', 'share of PEFT modules to cut', number],
  ['--rank-ratio <x>', 'share of ranks to cut', number],
  ['--head-scope <scope>', 'layer or global'],
  ['--neuron-scope <scope>', 'layer or global'],
  ['--fold-masks', 'keep the values of the surviving masks'],
  ['--from <folder>', 'what estimate wrote'],
  ['--adapter <folder>', 'PEFT or light adapter'],
  ['--save-steps <n>', 'steps between two savings of the training state', number],
  ['--resume', 'go on from the training state in --out'],
  ['--device <name>', 'cpu'],
  ['--dtype <name>', 'auto, float32, bfloat16'],
  ['--threads <n>', '0: one for each core', number],
  ['--seed <n>', 'of everything random', number],
  ['--out <path>', 'where the result goes'],
];

const table = (report: Report): string => {
  const metrics = Object.entries(report.metrics).map(([name, value]) => `${name} ${value.toFixed(4)}`);
  const kept = ((100 * report.encoderParametersKept) / report.encoderParameters).toFixed(1);
  return [
    ...metrics,
    `${report.steps} steps in ${report.seconds.toFixed(1)} s, ${Math.round(report.tokensPerSecond)} tokens/s`,
    `encoder kept ${kept} %, PEFT parameters ${report.peftParameters}, peak memory ${Math.round(report.peakMemoryBytes / 2 ** 20)} MiB`,
    ...(report.out === null ? [] : [`written to ${report.out}`]),
  ].join('\n');
};

const PHASES: Record<string, (options: Options, run: RunOptions) => Promise<Report>> = {
  estimate,
  train,
  'vanilla-train': vanillaTrain,
  evaluate,
};

function command(name: string, signal: AbortSignal): Command {
  const phase = new Command(name).exitOverride().configureOutput({ writeErr: () => undefined });
  for (const [flag, help, parse] of FLAGS) {
    const option = new Option(flag, help);
    if (parse) option.argParser(parse);
    phase.addOption(option);
  }
  phase.option('--json', 'one JSON object on standard output');
  phase.action(async (given: Options & { json?: boolean }) => {
    const { json, ...options } = given;
    const run: RunOptions = {
      signal,
      onProgress: progressTo(process.stderr, name),
      onNote: (line) => process.stderr.write(`light-peft: ${line}\n`),
    };
    if (name === 'predict') {
      const lines = (await predict(options, run))
        .map((prediction) => `${JSON.stringify(prediction)}\n`)
        .join('');
      if (options.out === undefined) process.stdout.write(lines);
      else await writeWhole(options.out, [lines]);
      return;
    }
    const report = await PHASES[name]!(options, run);
    process.stdout.write(`${json ? JSON.stringify(report) : table(report)}\n`);
  });
  return phase;
}

/** Signals closer than this to the first are that one again: npm passes on what the terminal has sent already. */
const SAME_SIGNAL_MS = 1000;

/** Ctrl-C ends the run after its step, a second one ends the process. */
function abortOnSignals(abort: AbortController): void {
  let first: number | undefined;
  const stop = () => {
    const now = performance.now();
    if (first !== undefined && now - first > SAME_SIGNAL_MS) process.exit(130);
    first ??= now;
    abort.abort();
  };
  process.on('SIGINT', stop).on('SIGTERM', stop);
}

/** Runs one phase; the exit status: 0, 2 for a coded error, 130 when it was interrupted. */
export async function main(argv: string[]): Promise<number> {
  const abort = new AbortController();
  abortOnSignals(abort);
  // Whoever reads may have read enough: `predict … | head`.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 2));
  const program = new Command('light-peft').exitOverride().configureOutput({ writeErr: () => undefined });
  for (const name of [...Object.keys(PHASES), 'predict']) program.addCommand(command(name, abort.signal));
  try {
    await program.parseAsync(argv, { from: 'user' });
    return 0;
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return 0;
    const message = messageOf(error).replace(/^error: /, '');
    const more = error instanceof CommanderError ? /\(Did you mean .*\)/.exec(error.message)?.[0] : undefined;
    const code =
      error instanceof LightPeftError
        ? error.code
        : error instanceof CommanderError
          ? 'BAD_OPTION'
          : 'INTERNAL';
    process.stderr.write(`light-peft: [${code}] ${message}${more ? ` ${more}` : ''}\n`);
    return code === 'ABORTED' ? 130 : 2;
  }
}
