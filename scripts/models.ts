// Prints docs/models.md: the families that the code knows, from its own table, and what is recorded for each.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { readConfig } from '../lib/checkpoint/config.ts';
import { FAMILIES } from '../lib/checkpoint/families.ts';
import type { Spec } from '../lib/checkpoint/spec.ts';

const FIXTURES = join(import.meta.dirname, '../test/fixtures');

/** The recorded cases of a family, by their folders. */
const casesOf = (family: string): string[] =>
  ['tiny', 'odd', 'wide']
    .map((shape) => `${family.replace('_', '-')}-${shape}`)
    .filter((name) => existsSync(join(FIXTURES, name)));

const positionsOf = ({ rotary, slopes, windows, positions }: Spec): string =>
  [
    positions > 0
      ? 'learned'
      : rotary.frequencies.length > 0
        ? 'rotary'
        : slopes.length > 0
          ? 'ALiBi'
          : 'none',
    ...(windows.some((width) => width > 0) ? ['windows'] : []),
  ].join(', ');

/** Of several cases what they have, each once. */
const each = (specs: Spec[], say: (spec: Spec) => string): string => [...new Set(specs.map(say))].join('; ');

const blockOf = ({ norm, normFirst, parallel }: Spec): string =>
  `${norm === 'rms' ? 'RMSNorm' : 'LayerNorm'} ${normFirst ? 'first' : 'last'}${parallel ? ', parallel' : ''}`;

const headsOf = (specs: Spec[]): string =>
  specs.map(({ heads, group }) => (group > 1 ? `${heads * group} on ${heads}` : String(heads))).join(', ');

async function rowOf(family: string): Promise<string> {
  const names = casesOf(family);
  const specs = await Promise.all(
    names.map(async (name) => (await readConfig(join(FIXTURES, name, 'base/config.json'))).spec),
  );
  const [spec] = specs;
  if (spec === undefined) throw new Error(`${family} has no recorded case`);
  const cells = [
    `\`${family}\``,
    each(specs, blockOf),
    each(specs, positionsOf),
    `${spec.gated ? 'gated ' : ''}${spec.activation}`,
    FAMILIES.get(family)!
      .targets.map((target) => `\`${target}\``)
      .join(' '),
    headsOf(specs),
    [...FAMILIES.get(family)!.tells, spec.causal ? 'next' : 'masked'].join(' '),
    names.map((name) => name.split('-').at(-1)!).join(', '),
  ];
  return `| ${cells.join(' | ')} |`;
}

async function table(causal: boolean): Promise<string[]> {
  const lines = [
    '| model_type | norms | positions | FFN | where LoRA can sit | attention heads checked | tells | cases |',
    '|---|---|---|---|---|---|---|---|',
  ];
  for (const family of FAMILIES.keys()) {
    const [name] = casesOf(family);
    const { spec } = await readConfig(join(FIXTURES, name!, 'base/config.json'));
    if (spec.causal === causal) lines.push(await rowOf(family));
  }
  return lines;
}

export async function modelsPage(): Promise<string> {
  return [
    '# Models',
    '',
    'Made by `npm run models > docs/models.md` from the table that the code uses, and from the recorded cases in test/fixtures.',
    'A `model_type` is that of config.json. Weights: `model.safetensors` or `pytorch_model.bin` (a zip of torch.save, whose',
    'pickle is read and never executed), whole or in shards. Tokenizers: `tokenizer.json`; `vocab.json` and `merges.txt` of',
    'RoBERTa, GPT-2 and its kin, and OPT; `vocab.txt`.',
    '',
    '## Encoders',
    '',
    ...(await table(false)),
    '',
    '## Decoders',
    '',
    ...(await table(true)),
    '',
    '"4 on 2" heads are four query heads on two with keys and values: pruning takes the latter, with the queries that are theirs.',
    'Rotary positions come with every scaling of transformers (linear, dynamic, llama3, yarn, longrope), each held to its angles.',
    'Texts are no longer than the model was trained for; longrope is read with its factors for short texts.',
    '',
    '## What is checked of each case',
    '',
    'Random weights and a LoRA adapter, recorded with transformers and PEFT in float64 (test/fixtures/README.md), held by `npm test`:',
    '',
    '- logits and loss with and without the adapter to 1e-5, the gradient of every trained tensor to 1e-4, ten steps of training;',
    '- masks at zero are the smaller model, for six ways to cut, with folded masks and with compensation, in fp32 to 1e-5 and in bf16;',
    '- of the model itself, trained as a whole with each head that transformers has for it, and of masked or next tokens: the loss',
    '  to 1e-5 and the gradient of every weight to 1e-4;',
    '- of decoders also the next token: logits and loss of chosen tokens to 1e-5, gradients to 1e-4, 50 greedy tokens of two prompts',
    '  at once, and what beam search with three beams finds.',
    '',
    'Not supported: DeBERTa, whose disentangled attention adds products of positions to each score, which the block here has no',
    'place for; encoder-decoders; mixtures of experts. A decoder chooses among texts by a projection of its last token, for which',
    'transformers has no class; answers in texts are left out where its class has another prefix than the others (LLaMA, Qwen).',
    '',
  ].join('\n');
}

if (process.argv[1] === import.meta.filename) process.stdout.write(await modelsPage());
