import type { Cell, CellResult } from './cell.ts';
import { METHODS } from './cell.ts';

export type Row = Cell & CellResult;

const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;

/** Half of a 95 % confidence interval of a mean: Student's t for so few values. */
const T = [NaN, NaN, 12.71, 4.3, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26];
export function halfInterval(values: number[]): number {
  const middle = mean(values);
  const variance = values.reduce((sum, value) => sum + (value - middle) ** 2, 0) / (values.length - 1);
  return (T[values.length] ?? 2.26) * Math.sqrt(variance / values.length);
}

/** By task and method: the task's first metric, means over seeds with 95 % intervals, sizes and times. */
export function studyTable(rows: readonly Row[]): string {
  const lines = [
    '| task | metric | method | seeds | value | less vanilla | encoder kept | PEFT kept | times as fast as vanilla |',
    '|---|---|---|---|---|---|---|---|---|',
  ];
  const metricOf = ({ report }: Row) => Object.keys(report.metrics)[0] ?? '';
  const valueOf = (row: Row) => 100 * (row.report.metrics[metricOf(row)] ?? NaN);
  const seconds = ({ report, estimationSeconds }: Row) => report.seconds + estimationSeconds;
  const differences = new Map<string, number[]>();
  for (const task of new Set(rows.map((row) => row.task))) {
    const vanilla = rows.filter((row) => row.task === task && row.method === 'vanilla');
    for (const method of METHODS) {
      const of = rows.filter((row) => row.task === task && row.method === method);
      if (of.length === 0) continue;
      const pairs = of.flatMap((row) => {
        const beside = vanilla.find(({ seed }) => seed === row.seed);
        return beside ? [[row, beside] as const] : [];
      });
      const less = pairs.map(([row, beside]) => valueOf(row) - valueOf(beside));
      if (less.length > 0) differences.set(method, [...(differences.get(method) ?? []), mean(less)]);
      const ratio = (value: (row: Row) => number) =>
        mean(pairs.map(([row, beside]) => value(row) / value(beside)));
      const interval = of.length > 1 ? ` ± ${halfInterval(of.map(valueOf)).toFixed(1)}` : '';
      const cells = [
        ...[task, metricOf(of[0]!), method, String(of.length)],
        `${mean(of.map(valueOf)).toFixed(2)}${interval}`,
        less.length > 0 ? mean(less).toFixed(2) : '',
        `${(100 * mean(of.map(({ report }) => report.encoderParametersKept / report.encoderParameters))).toFixed(1)} %`,
        pairs.length > 0 ? `${(100 * ratio(({ report }) => report.peftParameters)).toFixed(1)} %` : '',
        pairs.length > 0 ? (1 / ratio(seconds)).toFixed(2) : '',
      ];
      lines.push(`| ${cells.join(' | ')} |`);
    }
  }
  for (const [method, values] of differences)
    if (method !== 'vanilla')
      lines.push('', `${method}, mean over tasks of the difference from vanilla: ${mean(values).toFixed(2)}`);
  return lines.join('\n');
}
