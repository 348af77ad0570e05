import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

/** A folder of its own for each test, and the environment put back after it. */
export class Scratch {
  readonly dir = mkdtempSync(join(tmpdir(), 'light-peft-setup-'));
  readonly #before = new Map<string, string | undefined>();

  path(name: string): string {
    return join(this.dir, name);
  }

  write(name: string, content: string | Buffer = ''): string {
    const path = this.path(name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, content);
    return path;
  }

  /** A folder that passes for LibTorch. */
  writeLibTorch(name: string, versionFile: string, version: string): string {
    for (const file of libTorchFiles) this.write(`${name}/${file}`);
    this.write(`${name}/${versionFile}`, version);
    return this.path(name);
  }

  setEnv(name: string, value: string | undefined): void {
    if (!this.#before.has(name)) this.#before.set(name, process.env[name]);
    assign(name, value);
  }

  dispose(): void {
    for (const [name, value] of this.#before) assign(name, value);
    rmSync(this.dir, { recursive: true });
  }
}

export const libTorchFiles = [
  'include/ATen/ATen.h',
  'lib/libc10.so',
  'lib/libgomp.so.1',
  'lib/libtorch.so',
  'lib/libtorch_cpu.so',
];

function assign(name: string, value: string | undefined): void {
  if (value === undefined) Reflect.deleteProperty(process.env, name);
  else process.env[name] = value;
}
