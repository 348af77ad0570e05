import { runSetUpOrExit } from './setup/index.ts';

const given = process.argv.slice(2);
// Help needs no addon, which may have to be built first.
if (!given.some((word) => word === '--help' || word === '-h')) await runSetUpOrExit();
const { main } = await import('../lib/cli.ts');
process.exitCode = await main(given);
