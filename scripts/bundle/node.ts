import { chmodSync, copyFileSync, mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { setupFailed } from '../setup/failure.ts';
import { runProgram, which } from '../setup/program.ts';

/** What Node was built to take from libraries beside it: distributions' own builds do, nodejs.org's do not. */
export const sharedParts = (variables: Record<string, unknown>): string[] =>
  Object.entries(variables)
    .filter(([name, value]) => /^node_shared/.test(name) && (value === true || value === 'true'))
    .map(([name]) => name.replace(/^node_shared_?/, '') || 'node');

/** Copies the running Node, without its symbols where that can be done. */
export async function copyNode(target: string): Promise<void> {
  const [shared] = sharedParts(process.config.variables);
  if (shared !== undefined) {
    throw setupFailed(
      `${process.execPath} needs a shared library (${shared}) that a host without Node.js lacks: run this with a Node.js from nodejs.org`,
    );
  }
  mkdirSync(dirname(target), { recursive: true });
  const copy = (): void => {
    copyFileSync(process.execPath, target);
    chmodSync(target, 0o755);
  };
  copy();
  const strip = which('strip');
  if (strip === undefined) return;
  const stripped = await runProgram(strip, ['--strip-all', target], { timeoutSeconds: 60 });
  const runs = await runProgram(target, ['--version'], { timeoutSeconds: 20 });
  if (!stripped.ok || !runs.ok) copy();
}
