import { join } from 'node:path';
import type { Report } from '../lib/index.ts';
import { endToEnd } from './bench/end-to-end.ts';
import { runSetUpOrExit } from './setup/index.ts';

await runSetUpOrExit();
const json = process.argv.includes('--json');
const root = join(import.meta.dirname, '..');
const { bagOfWords, vanilla, estimate, light, speedup } = await endToEnd(root, join(root, 'runs/demo'));

if (json) console.log(JSON.stringify({ bagOfWords, vanilla, estimate, light, speedup }));
else {
  const row = (name: string, r: Report): string[] => [
    name,
    (r.metrics['accuracy'] ?? NaN).toFixed(3),
    `${((100 * r.encoderParametersKept) / r.encoderParameters).toFixed(1)} %`,
    String(r.peftParameters),
    String(r.steps),
    r.seconds.toFixed(1),
    String(Math.round(r.tokensPerSecond)),
    String(Math.round(r.peakMemoryBytes / 2 ** 20)),
  ];
  const table = [
    ['', 'accuracy', 'encoder kept', 'PEFT parameters', 'steps', 'seconds', 'tokens/s', 'peak MiB'],
    row('vanilla LoRA', vanilla),
    row('estimate', estimate),
    row('light', light),
  ];
  const widths = table[0]!.map((_, i) => Math.max(...table.map((cells) => cells[i]!.length)));
  for (const [name, ...cells] of table)
    console.log(
      [name!.padEnd(widths[0]!), ...cells.map((cell, i) => cell.padStart(widths[i + 1]!))].join('  '),
    );
  console.log(`\nlogistic regression on word counts: accuracy ${bagOfWords.toFixed(3)}`);
  console.log(
    `light trains ${speedup.train.toFixed(2)} times as fast as vanilla (${speedup.withEstimation.toFixed(2)} with the estimation counted), infers ${speedup.inference.toFixed(2)} times as fast`,
  );
  console.log(`try it: echo '{"sentence": "…"}' > new.jsonl`);
  console.log('npm run -s predict -- --model demo/encoder --adapter runs/demo/light --input new.jsonl');
}
