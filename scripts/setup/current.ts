import { existsSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { cudaSetting } from './cuda.ts';
import type { LibTorch } from './inspect.ts';
import { projectRoot } from './paths.ts';
import { hashTree, readStamp, writeStamp } from './stamp.ts';

/** build/current.json: the addon in use and what it was made of. */
export interface CurrentAddon {
  /** The .node file, relative to the project. */
  addon: string;
  libtorch: LibTorch;
  key: string;
  sourcesHash: string;
  /** LIGHT_PEFT_CUDA as it was then. */
  cudaSetting: string;
}

const sources = ['CMakeLists.txt', 'binding', 'native', 'test/native'];

const currentFile = (root: string): string => join(root, 'build/current.json');

/** What build/current.json records, if it can be read; it may be out of date. */
export function recordedAddon(root = projectRoot): CurrentAddon | undefined {
  const stamp = readStamp(currentFile(root)) as Partial<CurrentAddon> | undefined;
  const whole =
    stamp?.addon && stamp.libtorch?.dir && stamp.libtorch.version && stamp.key && stamp.sourcesHash;
  return whole ? (stamp as CurrentAddon) : undefined;
}

/** The recorded addon if nothing need be done: its sources, its LibTorch and the environment are as they were. */
export function upToDateAddon(root = projectRoot): CurrentAddon | undefined {
  const current = recordedAddon(root);
  if (current === undefined || !usable(current.libtorch)) return undefined;
  if (process.env['LIGHT_PEFT_CUDA'] !== undefined && cudaSetting() !== current.cudaSetting) return undefined;
  if (!existsSync(resolve(root, current.addon))) return undefined;
  return hashSources(root) === current.sourcesHash ? current : undefined;
}

/** Whether a recorded LibTorch is still there and still the one that is asked for. */
export function usable(libtorch: LibTorch): boolean {
  const chosen = process.env['LIBTORCH'];
  return (
    (!chosen || resolve(chosen) === libtorch.dir) && existsSync(join(libtorch.dir, 'lib/libtorch_cpu.so'))
  );
}

/** One hash over all that the addon is compiled from. */
export function hashSources(root: string): string {
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };
  return hashTree(root, sources, [version]);
}

export function recordAddon(current: CurrentAddon, root = projectRoot): void {
  writeStamp(currentFile(root), current);
}
