import { execFile, spawn } from 'node:child_process';
import {
  closeSync,
  cpSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { estimate, evaluate, train } from '../../lib/index.ts';
import type { Prediction } from '../../lib/evaluation.ts';
import type { Report } from '../../lib/workbench.ts';
import { ENCODER, Folder } from './bench.ts';

const ARGS = ['--import', 'tsx', join(import.meta.dirname, '../../scripts/cli.ts')];

interface Ended {
  status: number | null;
  stdout: string;
  stderr: string;
}

const runWith = (environment: Record<string, string>, ...args: string[]): Promise<Ended> =>
  new Promise((resolve) => {
    const env = { ...process.env, ...environment };
    const child = execFile(process.execPath, [...ARGS, ...args], { env }, (_, stdout, stderr) =>
      resolve({ status: child.exitCode, stdout, stderr }),
    );
  });
const run = (...args: string[]): Promise<Ended> => runWith({}, ...args);

describe('the command line', () => {
  it('tells flags that npm has kept, and those of other commands', async () => {
    const kept = { npm_lifecycle_event: 'train', npm_config_train_file: 'true', npm_config_rewind: 'true' };
    const swallowed = await runWith(kept, 'train', 'train.jsonl');
    expect(swallowed.stderr).match(
      /^light-peft: \[BAD_OPTION\] npm has kept --train-file, --rewind to itself; .* npm run train -- …$/m,
    );
    const { stderr } = await runWith(
      { ...kept, npm_lifecycle_event: 'other' },
      ...['evaluate', '--model', ENCODER, '--validation-file', 'x.jsonl', '--lora-r', '4'],
    );
    expect(stderr).match(
      /^light-peft: --lora-r: not for evaluate, but for other commands\nlight-peft: \[BAD_OPTION\] /m,
    );
  });

  it('is reached by a script for each command, which runs nothing else before it', async () => {
    const root = join(import.meta.dirname, '../..');
    for (const name of ['train', 'pretrain']) {
      const { status, stdout } = await new Promise<{ status: unknown; stdout: string }>((resolve) => {
        execFile('npm', ['run', '-s', name, '--', '--help'], { cwd: root }, (error, stdout) =>
          resolve({ status: error?.code ?? 0, stdout }),
        );
      });
      expect(status, name).to.equal(0);
      expect(stdout).to.match(new RegExp(`^Usage: light-peft ${name} `));
    }
  });

  const folder = new Folder();
  after(() => folder.remove());
  const { trainFile, validationFile } = folder.options();
  const files = ['--train-file', trainFile!, '--validation-file', validationFile!];
  const small = ['--threads', '1', '--batch-size', '8', '--max-steps', '4'];
  const out = folder.file('out');
  const vanilla = ['vanilla-train', '--model', ENCODER, ...files, ...small, '--out', out];
  const withLast = (flag: string, value: string) => [...vanilla, flag, value];

  const copied = (name: string, change: (folder: string) => void): string => {
    const copy = folder.file(name);
    cpSync(ENCODER, copy, { recursive: true });
    change(copy);
    return copy;
  };
  const withConfig = (name: string, change: object): string =>
    copied(name, (copy) => {
      const file = join(copy, 'config.json');
      const config = JSON.parse(readFileSync(file, 'utf8')) as object;
      writeFileSync(file, JSON.stringify({ ...config, ...change }));
    });
  const otherBase = () =>
    copied('other-base', (copy) => {
      const file = join(copy, 'model.safetensors');
      const bytes = readFileSync(file);
      bytes[bytes.length - 1]! ^= 1;
      writeFileSync(file, bytes);
    });
  const rows = (name: string, ...all: object[]) =>
    folder.write(name, all.map((row) => `${JSON.stringify(row)}\n`).join(''));

  const refusals: [what: string, code: string, says: RegExp, args: () => string[]][] = [
    ['a third plan', 'BAD_OPTION', /too many arguments for 'diff'/, () => ['plan', 'diff', 'a', 'b', 'c']],
    [
      'no such thing of plans',
      'BAD_OPTION',
      /plan: inspect an adapter, or diff two/,
      () => ['plan', 'show', 'a'],
    ],
    ['no command', 'BAD_OPTION', /a command is needed: estimate, train, /, () => []],
    ['an unknown command', 'BAD_OPTION', /unknown command 'tran'.*Did you mean train/, () => ['tran']],
    [
      'a layer that is not there',
      'BAD_OPTION',
      /--protect: there are \d layers, from 0, and no 99/,
      () => ['estimate', ...vanilla.slice(1, -2), '--protect', '99', '--out', folder.file('never')],
    ],
    ['an unknown flag', 'BAD_OPTION', /Did you mean --batch-size/, () => withLast('--batchsize', '3')],
    [
      'a value out of range',
      'BAD_OPTION',
      /--lora-dropout: it must be below 1$/m,
      () => withLast('--lora-dropout', '1'),
    ],
    [
      'a part of a rank',
      'BAD_OPTION',
      /--lora-r: a whole number is needed$/m,
      () => withLast('--lora-r', '1.5'),
    ],
    [
      'what is no number',
      'BAD_OPTION',
      /--epochs: "many" is not a number/,
      () => withLast('--epochs', 'many'),
    ],
    ['a missing --out', 'BAD_OPTION', /--out is needed/, () => vanilla.slice(0, -2)],
    ['a Hub id', 'NOT_A_FOLDER', /hf download roberta-base/, () => withLast('--model', 'roberta-base')],
    [
      'an unknown model type',
      'UNSUPPORTED_MODEL',
      /"mamba" is not supported; supported: roberta/,
      () => withLast('--model', withConfig('mamba', { model_type: 'mamba' })),
    ],
    [
      'shapes that contradict the config',
      'BAD_CHECKPOINT',
      /where config.json says/,
      () => withLast('--model', withConfig('shapes', { intermediate_size: 512 })),
    ],
    [
      'missing weights',
      'BAD_CHECKPOINT',
      /model\.safetensors/,
      () => withLast('--model', folder.file('empty')),
    ],
    [
      'truncated weights',
      'BAD_CHECKPOINT',
      /truncated/,
      () =>
        withLast(
          '--model',
          copied('short', (copy) => truncateSync(join(copy, 'model.safetensors'), 5e6)),
        ),
    ],
    ['an empty file', 'EMPTY_DATA', /empty\.jsonl/, () => withLast('--train-file', rows('empty.jsonl'))],
    [
      'a label outside the range',
      'BAD_LABEL',
      /bad-label\.jsonl/,
      () => [
        ...withLast('--train-file', rows('bad-label.jsonl', { sentence: 'a', label: 7 })),
        '--label-names',
        'no,yes',
      ],
    ],
    [
      'a loss that is no number',
      'NOT_FINITE',
      /not finite at step 2/,
      () => [...withLast('--learning-rate', '1e37'), '--max-grad-norm', '0', '--warmup-ratio', '0'],
    ],
    [
      'scores of another base',
      'BAD_SCORES',
      /another base/,
      () => [
        'train',
        '--model',
        otherBase(),
        ...files,
        ...small,
        '--from',
        folder.file('scores'),
        '--out',
        folder.file('never'),
      ],
    ],
    [
      'a plan for another base',
      'BAD_PLAN',
      /another base/,
      () => ['evaluate', '--model', otherBase(), ...files.slice(2), '--adapter', folder.file('light')],
    ],
    ['a plan command that is none', 'BAD_OPTION', /inspect an adapter/, () => ['plan']],
    [
      'threads that are no number',
      'BAD_OPTION',
      /"abc" is not a number/,
      () => ['plan', 'inspect', folder.file('light'), '--threads', 'abc'],
    ],
    [
      'a plan where there is none',
      'BAD_ADAPTER',
      /no plan here/,
      () => ['plan', 'inspect', folder.file('scores')],
    ],
    [
      'a run to resume that is not there',
      'BAD_STATE',
      /no interrupted run/,
      () => [...withLast('--out', folder.file('none')), '--resume'],
    ],
  ];

  before(async () => {
    mkdirSync(folder.file('empty'));
    cpSync(join(ENCODER, 'config.json'), folder.file('empty/config.json'));
    cpSync(join(ENCODER, 'tokenizer.json'), folder.file('empty/tokenizer.json'));
    await estimate(folder.options({ maxSteps: 4, out: folder.file('scores') }));
    await train(folder.options({ maxSteps: 2, from: folder.file('scores'), out: folder.file('light') }));
  });

  for (const [what, code, says, args] of refusals)
    it(`refuses ${what}: one line, its code, status 2`, async () => {
      const { status, stdout, stderr } = await run(...args());
      const lines = stderr.split('\n').filter((line) => line.startsWith('light-peft: ['));
      expect(lines, stderr).lengthOf(1);
      expect(lines[0])
        .match(new RegExp(`^light-peft: \\[${code}\\] `))
        .and.match(says);
      expect({ status, stdout }).deep.equal({ status: 2, stdout: '' });
      const left = existsSync(folder.path) ? readdirSync(folder.path) : [];
      expect(left.filter((name) => name.endsWith('.tmp'))).deep.equal([]);
    });

  it('says what instruction sets it knows', async () => {
    const { status, stderr } = await runWith({ LIGHT_PEFT_ISA: 'mmx' }, ...vanilla);
    expect(status).equal(2);
    expect(stderr).match(/\[BAD_OPTION\] LIGHT_PEFT_ISA is 'mmx'; known: avx2/);
  });

  it('cuts texts that are too long, and counts them', async () => {
    const long = rows(
      'long.jsonl',
      { sentence: 'word '.repeat(900), label: 0 },
      { sentence: 'short', label: 1 },
    );
    const { status, stderr } = await run(...withLast('--train-file', long), '--max-length', '4000');
    expect(status).equal(0);
    expect(stderr).match(/1 of 2 texts in .*long\.jsonl .* cut to 512 tokens/);
  });

  it('prints one JSON object, and the predictions line by line', async () => {
    const trained = await run(...vanilla, '--json');
    const report = JSON.parse(trained.stdout) as Report;
    expect(Object.keys(report)).include.members([
      ...['metrics', 'seconds', 'steps', 'tokensPerSecond', 'baseParameters', 'encoderParameters'],
      ...['encoderParametersKept', 'peftParameters', 'headParameters', 'peakMemoryBytes', 'out'],
    ]);
    expect(report).include({ steps: 4, out });
    const predict = ['predict', '--model', ENCODER, '--adapter', out, '--input', validationFile!];
    const printed = await run(...predict);
    const predictions = printed.stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Prediction);
    expect(predictions.map(({ idx }) => idx)).deep.equal(Array.from({ length: 24 }, (_, i) => i));
    expect(predictions[0]!.logits).lengthOf(2);
    const file = folder.file('predictions.jsonl');
    expect((await run(...predict, '--out', file)).stdout).equal('');
    expect(readFileSync(file, 'utf8')).equal(printed.stdout);
  });

  it('ends within a step on Ctrl-C and leaves an adapter and a run to resume', async () => {
    const stopped = folder.file('stopped');
    const args = [...ARGS, ...vanilla.slice(0, -2), '--max-steps', '5000', '--out', stopped];
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'pipe'] });
    let stderr = '';
    child.stderr.on('data', (data: Buffer) => {
      stderr += String(data);
      // Twice, as under npm: the terminal tells all of its processes, and npm those that it has started.
      if (stderr.includes(': step ') && !child.killed) for (let i = 0; i < 2; i++) child.kill('SIGINT');
    });
    const status = await new Promise<number | null>((resolve) => child.on('exit', resolve));
    expect(status, stderr).equal(130);
    expect(stderr).match(/\[ABORTED\] stopped after \d+ of 5000 steps; .*--resume/);
    expect(readdirSync(stopped).sort()).deep.equal([
      ...[
        'adapter_config.json',
        'adapter_model.safetensors',
        'light_peft.json',
        'training_state.safetensors',
      ],
    ]);
    expect((await evaluate(folder.options({ adapter: stopped }))).metrics).property('accuracy');
  });

  it('does what it is told to where nobody can read how far it is', async () => {
    const [full, out] = [openSync('/dev/full', 'w'), folder.file('unread')];
    const { model, trainFile } = folder.options();
    const flags = ['--model', model, '--train-file', trainFile!, '--max-steps', '2', '--out', out];
    const child = spawn(process.execPath, [...ARGS, 'vanilla-train', ...flags], {
      stdio: ['ignore', 'ignore', full],
    });
    const status = await new Promise<number | null>((resolve) => child.on('exit', resolve));
    closeSync(full);
    expect(status).equal(0);
    expect(readdirSync(out)).include('adapter_config.json');
  });
});
