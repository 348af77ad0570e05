import { runSetUpOrExit } from './setup/index.ts';

await runSetUpOrExit();
const { main } = await import('../lib/cli.ts');
process.exitCode = await main(process.argv.slice(2));
