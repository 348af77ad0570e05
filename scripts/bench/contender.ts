import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

/** One measurement: a few steps over the batches of a case. */
export interface Measured {
  seconds: number;
  tokens: number;
  paddedTokens: number;
  loss?: number;
}

export interface Ended {
  /** 0: not known. */
  peakMemoryBytes: number;
  /** 0: no backward pass. */
  activationBytes?: number;
  note?: string;
}

/** A process that does the same work again whenever it is told to. It answers each line with one line of JSON. */
export class Contender {
  private readonly lines: AsyncIterator<string, undefined>;
  private errors = '';

  private constructor(
    readonly name: string,
    private readonly child: ChildProcess,
  ) {
    this.lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
    child.stderr!.on('data', (data: Buffer) => {
      this.errors = (this.errors + String(data)).slice(-2000);
    });
  }

  /** Starts it and waits until it has warmed up. */
  static async start(
    name: string,
    program: string,
    args: string[],
    env: NodeJS.ProcessEnv,
  ): Promise<Contender> {
    const child = spawn(program, args, { stdio: 'pipe', env: { ...process.env, ...env } });
    // A pipe that breaks shows as an answer that does not come.
    child.stdin.on('error', () => undefined);
    child.on('error', () => undefined);
    const contender = new Contender(name, child);
    await contender.answer();
    return contender;
  }

  private async answer<T>(): Promise<T> {
    const next: IteratorResult<string, undefined> = await this.lines.next();
    if (next.done) throw new Error(`${this.name} ended: ${this.errors.trim().split('\n').at(-1) ?? ''}`);
    return JSON.parse(next.value) as T;
  }

  measure(): Promise<Measured> {
    this.child.stdin!.write('go\n');
    return this.answer<Measured>();
  }

  async end(): Promise<Ended> {
    this.child.stdin!.write('end\n');
    const ended = await this.answer<Ended>();
    this.child.stdin!.end();
    return ended;
  }

  /** Where a case fails, what it began must not go on to use the machine. */
  stop(): void {
    this.child.kill();
  }
}
