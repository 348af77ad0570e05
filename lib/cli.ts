import { Command as Program, CommanderError } from 'commander';
import { type ErrorCode, LightPeftError, messageOf } from './errors.ts';
import { type Command, number } from './flag.ts';
import { COMMANDS } from './flag-table.ts';
import { checkNeeded, checkPassedOn, meaningless, optionsOf, parsed } from './flags.ts';
import { estimate } from './estimate.ts';
import { evaluate, predict } from './evaluate.ts';
import { generate } from './generate.ts';
import { type Options, settle } from './options.ts';
import { diffPlans, inspectPlan, planDistances, type PlanReportOptions, reportPlan } from './plan-report.ts';
import { pretrain } from './pretrain.ts';
import { PredictionsFile } from './predictions-file.ts';
import { progressTo } from './progress.ts';
import type { RunOptions } from './run.ts';
import { train, vanillaTrain } from './train.ts';
import { isOfSystem } from './whole-file.ts';
import type { Report } from './workbench.ts';

const table = (report: Report): string => {
  const metrics = Object.entries(report.metrics).map(([name, value]) => `${name} ${value.toFixed(4)}`);
  const kept = ((100 * report.encoderParametersKept) / report.encoderParameters).toFixed(1);
  return [
    ...metrics,
    `${report.steps > 0 ? `${report.steps} steps in ` : ''}${report.seconds.toFixed(1)} s, ${Math.round(report.tokensPerSecond)} tokens/s`,
    `encoder kept ${kept} %, PEFT parameters ${report.peftParameters}, peak memory ${Math.round(report.peakMemoryBytes / 2 ** 20)} MiB`,
    ...(report.out === null ? [] : [`written to ${report.out}`]),
  ].join('\n');
};

const PHASES: Record<
  Exclude<Command, 'predict' | 'generate'>,
  (options: Options, run: RunOptions) => Promise<Report>
> = {
  estimate,
  train,
  'vanilla-train': vanillaTrain,
  pretrain,
  evaluate,
};

const AS_JSON = 'one JSON object on standard output';
const JSON_HELP: Partial<Record<Command, string>> = {
  predict: 'one JSON object for each example, as without it',
  generate: 'one JSON object for each prompt on standard output',
};

function command(name: Command, signal: AbortSignal): Program {
  const phase = new Program(name)
    .description(COMMANDS[name])
    .exitOverride()
    .configureOutput({ writeErr: () => undefined });
  for (const option of optionsOf(name)) phase.addOption(option);
  phase.option('--json', JSON_HELP[name] ?? AS_JSON);
  phase.action(async (given: Options & { json?: boolean }) => {
    const { json, ...options } = given;
    const run: RunOptions = {
      signal,
      onProgress: progressTo(process.stderr, name),
      onNote: (line) => process.stderr.write(`light-peft: ${line}\n`),
    };
    const unused = meaningless(name, options);
    if (unused.length > 0) run.onNote?.(`${unused.join(', ')}: not for ${name}, but for other commands`);
    checkNeeded(name, options);
    if (name === 'generate') {
      const texts = await generate(options, run);
      const lines = texts.map((one) => (json ? JSON.stringify(one) : one.prompt + one.text));
      process.stdout.write(lines.map((line) => `${line}\n`).join(''));
      return;
    }
    if (name === 'predict') {
      const { out } = settle(options);
      const file = out === undefined ? undefined : await PredictionsFile.of(out, options);
      const lines = (await predict(options, run))
        .map((prediction) => `${JSON.stringify(prediction)}\n`)
        .join('');
      if (file) await file.write(lines);
      else process.stdout.write(lines);
      return;
    }
    const report = await PHASES[name](options, run);
    process.stdout.write(`${json ? JSON.stringify(report) : table(report)}\n`);
  });
  return phase;
}

/** `plan inspect` and `plan diff`. */
function planCommand(): Program {
  const quiet = (program: Program) => program.exitOverride().configureOutput({ writeErr: () => undefined });
  const about = new Program('plan').description('Shows what light adapters keep of their base.');
  // Of what is no command of its either.
  const plan = quiet(about.allowExcessArguments()).action(() => {
    throw new LightPeftError('BAD_OPTION', 'plan: inspect an adapter, or diff two');
  });
  quiet(plan.command('inspect'))
    .description('A map of the layers, shares of parameters and operations, and the speed-up.')
    .argument('<adapter>', 'folder that train wrote')
    .option('--model <folder>', 'the base, where it is no longer where it was')
    .option('--length <n>', 'tokens of a text', (text) => parsed('--length', number, text))
    .option('--measure', 'time the base and what is left of it')
    .option('--threads <n>', '0: one for each core', (text) => parsed('--threads', number, text))
    .option('--json', AS_JSON)
    .action(async (adapter: string, { json, ...options }: PlanReportOptions & { json?: boolean }) => {
      const found = json
        ? JSON.stringify(await reportPlan(adapter, options))
        : await inspectPlan(adapter, options);
      process.stdout.write(`${found}\n`);
    });
  quiet(plan.command('diff'))
    .description('How far the plans of two adapters are apart: shares of units that only one of them keeps.')
    .arguments('<a> <b>')
    .option('--model <folder>', 'the base, where it is no longer where it was')
    .option('--json', AS_JSON)
    .action(async (a: string, b: string, { json, ...options }: PlanReportOptions & { json?: boolean }) => {
      const found = json
        ? JSON.stringify(await planDistances(a, b, options))
        : await diffPlans(a, b, options);
      process.stdout.write(`${found}\n`);
    });
  // Which the others have taken over.
  for (const one of plan.commands) one.allowExcessArguments(false);
  return plan;
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

/** One line, whatever was quoted in it. */
const tell = (code: ErrorCode, message: string) =>
  process.stderr.write(`light-peft: [${code}] ${message.replace(/[\u0000-\u001f\u007f]+/g, ' ')}\n`);

function codeOf(error: unknown): ErrorCode {
  if (error instanceof LightPeftError) return error.code;
  if (error instanceof CommanderError) return 'BAD_OPTION';
  return isOfSystem(error) ? 'IO' : 'INTERNAL';
}

/** Runs one phase; the exit status: 0, 2 for a coded error, 130 when it was interrupted. */
export async function main(argv: string[]): Promise<number> {
  const abort = new AbortController();
  abortOnSignals(abort);
  // Whoever reads may have read enough: `predict … | head`.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(0);
    tell('IO', `standard output: ${messageOf(error)}`);
    process.exit(2);
  });
  const program = new Program('light-peft').exitOverride().configureOutput({ writeErr: () => undefined });
  for (const name of Object.keys(COMMANDS) as Command[]) program.addCommand(command(name, abort.signal));
  program.addCommand(planCommand());
  try {
    if (argv.length === 0)
      throw new LightPeftError(
        'BAD_OPTION',
        `a command is needed: ${program.commands.map((one) => one.name()).join(', ')}`,
      );
    const named = program.commands.find((one) => one.name() === argv[0]);
    if (named) checkPassedOn(named, process.env);
    await program.parseAsync(argv, { from: 'user' });
    return 0;
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return 0;
    const message = (error instanceof LightPeftError ? error.message : messageOf(error)).replace(
      /^error: /,
      '',
    );
    const more = error instanceof CommanderError ? /\(Did you mean .*\)/.exec(error.message)?.[0] : undefined;
    const code = codeOf(error);
    tell(code, `${message}${more ? ` ${more}` : ''}`);
    return code === 'ABORTED' ? 130 : 2;
  }
}
