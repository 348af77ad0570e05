import { type Site, sitesOf, type Spec } from '../checkpoint/spec.ts';
import { encoderCost, operationCosts, parameterCosts } from './costs.ts';
import type { Costs } from './budget.ts';
import type { Plan } from './plan.ts';

const BAR = 20;
const LETTERS: Record<Site, string> = {
  ...{ qkv: 'A', query: 'Q', key: 'K', value: 'V', 'attention.output': 'O' },
  ...{ gate: 'G', intermediate: 'I', output: 'F' },
};

/** Shares of the encoder that a plan keeps. */
export function keptShares(
  plan: Plan,
  spec: Spec,
  length: number,
  { every = false } = {},
): { parameters: number; operations: number } {
  const whole = Array.from({ length: spec.layers }, () => ({
    heads: { length: spec.heads },
    neurons: { length: spec.ffn },
  }));
  const share = (costs: Costs[]) => encoderCost(costs, plan.layers) / encoderCost(costs, whole);
  return {
    parameters: share(parameterCosts(spec)),
    operations: share(operationCosts(spec, [length], { every })),
  };
}

/**
 * A line for each layer: its heads one by one, a bar of its neurons, and the rank of the module at each site (Q, K, V or
 * all of them in A, attention output, gate, intermediate, FFN output).
 * @param nameOf of a module, as the plan has it
 */
export function planMap(plan: Plan, spec: Spec, nameOf: (layer: number, site: string) => string): string {
  const ranks = new Map(plan.modules.map((module) => [module.name, module.ranks.length]));
  const sites = sitesOf(spec);
  const wide = Math.max(5, spec.heads);
  const lines = [
    `layer  ${'heads'.padEnd(wide)}  ${'neurons'.padEnd(BAR + 13)}  ${sites.map((site) => LETTERS[site].padStart(3)).join('')}`,
  ];
  for (const [l, { heads, neurons }] of plan.layers.entries()) {
    const kept = new Set(heads);
    const map = Array.from({ length: spec.heads }, (_, head) => (kept.has(head) ? '●' : '·')).join('');
    const full = Math.round((BAR * neurons.length) / spec.ffn);
    const bar = '█'.repeat(full) + '░'.repeat(BAR - full);
    const count = `${neurons.length}/${spec.ffn}`;
    const modules = sites.map((site) => String(ranks.get(nameOf(l, site)) ?? '·').padStart(3)).join('');
    lines.push(`${String(l).padStart(5)}  ${map.padEnd(wide)}  ${bar} ${count.padEnd(12)}  ${modules}`);
  }
  return lines.join('\n');
}
