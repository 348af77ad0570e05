import { upToDateAddon } from './setup/current.ts';
import { runSetUpOrExit } from './setup/index.ts';
import { logToStderr } from './setup/log.ts';

await runSetUpOrExit();
const current = upToDateAddon();
if (current !== undefined) {
  const { dir, version, source } = current.libtorch;
  logToStderr(`ready: ${current.addon}, with LibTorch ${version} from ${source} (${dir})`);
  logToStderr('LIBTORCH=<folder> npm run setup chooses another; rm -r build has one searched for again');
}
