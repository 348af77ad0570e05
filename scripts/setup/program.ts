import { spawn } from 'node:child_process';
import { accessSync, constants, statSync } from 'node:fs';
import { delimiter, join } from 'node:path';

export interface Outcome {
  ok: boolean;
  stdout: string;
  /** stdout and stderr as they came. */
  output: string;
}

export interface ProgramOptions {
  cwd?: string;
  env?: NodeJS.ProcessEnv;
  timeoutSeconds?: number;
  onOutput?: (text: string) => void;
}

/** Runs a program to its end. One that cannot be started has failed, with the reason as its output. */
export function runProgram(
  command: string,
  args: readonly string[],
  options: ProgramOptions = {},
): Promise<Outcome> {
  return new Promise((resolve) => {
    let stdout = '';
    let output = '';
    const child = spawn(command, args, {
      cwd: options.cwd,
      env: options.env ?? process.env,
      // Pipes, not files: what is left of a build when we are killed then dies at its next word.
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    // spawn's own timeout would keep us alive for its whole length when the program does not start.
    const { timeoutSeconds } = options;
    const limit = timeoutSeconds && setTimeout(() => child.kill(), timeoutSeconds * 1000);
    const end = (ok: boolean): void => {
      clearTimeout(limit);
      resolve({ ok, stdout, output });
    };
    const take = (text: string): void => {
      output += text;
      options.onOutput?.(text);
    };
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
      take(text);
    });
    child.stderr.setEncoding('utf8').on('data', take);
    child.on('error', (error) => {
      output += `${error.message}\n`;
      end(false);
    });
    child.on('close', (code, signal) => {
      if (signal) output += `${command} was stopped by ${signal}\n`;
      end(code === 0);
    });
  });
}

/** The file that `name` runs, or undefined. */
export function which(name: string, path = process.env['PATH'] ?? ''): string | undefined {
  const files = name.includes('/') ? [name] : path.split(delimiter).map((folder) => join(folder, name));
  return files.find((file) => {
    try {
      accessSync(file, constants.X_OK);
      return statSync(file).isFile();
    } catch {
      return false;
    }
  });
}

/** The line of a failed program's output that says most: its last `ERROR:` line, or its last line. */
export function lastWord(output: string): string {
  const lines = output
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');
  return lines.findLast((line) => /^error/i.test(line)) ?? lines.at(-1) ?? 'it said nothing';
}
