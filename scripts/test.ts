import { spawnSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { runSetUpOrExit } from './setup/index.ts';
import { logToStderr } from './setup/log.ts';
import { projectRoot } from './setup/paths.ts';

await runSetUpOrExit();
const mocha = createRequire(import.meta.url).resolve('mocha/bin/mocha.js');
const { status, signal, error } = spawnSync(process.execPath, [mocha, ...process.argv.slice(2)], {
  cwd: projectRoot,
  stdio: 'inherit',
});
if (error) throw error;
if (signal) logToStderr(`mocha was stopped by ${signal}`);
process.exitCode = status ?? 1;
