import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setupFailed } from './failure.ts';

/** A folder to compile and link against. */
export interface LibTorch {
  /** Has include/ and lib/. */
  dir: string;
  version: string;
  cuda: boolean;
  /** Where it came from, in words. */
  source: string;
}

const supported = { major: 2, minors: [11, 14] as const };

/** `2.13.0+cpu` out of a Python package's version.py or a LibTorch archive's build-version. */
export function parseVersion(text: string): string | undefined {
  const quoted = /^__version__\s*(?::[^=]*)?=\s*['"]([^'"]+)['"]/m.exec(text)?.[1];
  const version = quoted ?? text.trim();
  return /^\d+\.\d+\.\S+$/.test(version) ? version : undefined;
}

export function isSupported(version: string): boolean {
  const [major, minor] = version.split('.').map(Number);
  const [first, last] = supported.minors;
  return major === supported.major && minor !== undefined && minor >= first && minor <= last;
}

/** Says what is in a libtorch folder or a Python torch package, or throws the reason why it will not do. */
export function inspectLibTorch(dir: string, source: string): LibTorch {
  const needed = [
    'include/ATen/ATen.h',
    'lib/libtorch.so',
    'lib/libtorch_cpu.so',
    'lib/libc10.so',
    // The OpenMP runtime that LibTorch itself loads. With another one beside it, two thread pools would fight.
    'lib/libgomp.so.1',
  ];
  const missing = needed.find((name) => !existsSync(join(dir, name)));
  if (missing !== undefined) throw setupFailed(`${dir} is not a usable LibTorch: it has no ${missing}`);

  const versionFile = ['version.py', 'build-version'].map((name) => join(dir, name)).find(existsSync);
  const version = versionFile && parseVersion(readFileSync(versionFile, 'utf8'));
  if (!version)
    throw setupFailed(`${dir} is not a usable LibTorch: neither version.py nor build-version says which`);
  if (!isSupported(version)) {
    const [first, last] = supported.minors;
    const range = `${supported.major}.${first} to ${supported.major}.${last}`;
    throw setupFailed(`${dir} is LibTorch ${version}; supported are ${range}`);
  }
  return { dir, version, cuda: existsSync(join(dir, 'lib/libtorch_cuda.so')), source };
}
