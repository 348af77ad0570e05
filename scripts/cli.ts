import { runSetUpOrExit } from './setup/index.ts';

// Nobody has to read how far the set-up or a run is.
process.stderr.on('error', () => undefined);
const given = process.argv.slice(2);
// Help needs no addon, which may have to be built first.
if (!given.some((word) => word === '--help' || word === '-h')) await runSetUpOrExit();
const { main } = await import('../lib/cli.ts');
process.exitCode = await main(given);
