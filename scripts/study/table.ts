import { type Cell, type CellResult, type Method, nameOf } from './cell.ts';

export type Row = Cell & CellResult;

const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;

/** Half of a 95 % confidence interval of a mean: Student's t for so few values. */
const T = [NaN, NaN, 12.71, 4.3, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26];
export function halfInterval(values: number[]): number {
  const middle = mean(values);
  const variance = values.reduce((sum, value) => sum + (value - middle) ** 2, 0) / (values.length - 1);
  return (T[values.length] ?? 2.26) * Math.sqrt(variance / values.length);
}

const withInterval = (values: number[]): string =>
  mean(values).toFixed(2) + (values.length > 1 ? ` ± ${halfInterval(values).toFixed(1)}` : '');

const metricOf = ({ report }: Row) => Object.keys(report.metrics)[0] ?? '';
const valueOf = (row: Row) => 100 * (row.report.metrics[metricOf(row)] ?? NaN);
const seconds = ({ report, estimationSeconds }: Row) => report.seconds + estimationSeconds;
const keptOf = ({ report }: Row) => (100 * report.encoderParametersKept) / report.encoderParameters;
const percent = (value: number) => `${value.toFixed(1)} %`;

/** Correlations say something from 0.2 on, other metrics 10 points above what is always the same. */
const LEARNED = { matthews_correlation: 20, pearson: 20 };
const needed = (metric: string): number => LEARNED[metric as keyof typeof LEARNED] ?? 10;

/** Rows of one task and method, each with the vanilla run of its seed. */
interface Group {
  task: string;
  method: Method;
  rows: Row[];
  vanilla: Row[];
}

function groupsOf(rows: readonly Row[]): Group[] {
  const groups: Group[] = [];
  for (const task of new Set(rows.map((row) => row.task)))
    for (const method of new Set(rows.map((row) => row.method))) {
      const of = rows.filter((row) => row.task === task && row.method === method);
      const beside = of.map(({ seed }) =>
        rows.find((row) => row.task === task && row.method === 'vanilla' && row.seed === seed),
      );
      const paired = of.filter((_, i) => beside[i] !== undefined);
      const vanilla = beside.filter((row) => row !== undefined);
      if (paired.length > 0) groups.push({ task, method, rows: paired, vanilla });
    }
  return groups;
}

const lost = ({ rows, vanilla }: Group): number[] =>
  rows.map((row, i) => valueOf(row) - valueOf(vanilla[i]!));

/** Whether a task's vanilla run has learned enough for a loss to tell something. */
const counts = ({ vanilla }: Group): boolean =>
  mean(vanilla.map(valueOf)) >= 100 * vanilla[0]!.majority + needed(metricOf(vanilla[0]!));

/**
 * By task and method: the task's first metric and what it is below vanilla's, means over seeds with 95 % intervals,
 * sizes and times; then the mean over the tasks that count.
 */
export function studyTable(rows: readonly Row[]): string {
  const groups = groupsOf(rows);
  const lines = [
    "| task | metric (always the same) | method | seeds | value | above vanilla | encoder kept | PEFT kept | estimation, of vanilla's time | times as fast as vanilla |",
    '|---|---|---|---|---|---|---|---|---|---|',
  ];
  for (const group of groups) {
    const { task, method, rows: of, vanilla } = group;
    const ratio = (value: (row: Row) => number) => mean(of.map((row, i) => value(row) / value(vanilla[i]!)));
    const estimation = mean(of.map((row, i) => row.estimationSeconds / vanilla[i]!.report.seconds));
    const cells = [
      ...[task, `${metricOf(of[0]!)} (${(100 * of[0]!.majority).toFixed(1)})`, nameOf(method)],
      ...[String(of.length), withInterval(of.map(valueOf)), withInterval(lost(group))],
      ...[percent(mean(of.map(keptOf))), percent(100 * ratio(({ report }) => report.peftParameters))],
      ...[percent(100 * estimation), (1 / ratio(seconds)).toFixed(2)],
    ];
    lines.push(`| ${cells.join(' | ')} |`);
  }
  for (const method of new Set(groups.map((group) => group.method))) {
    if (method === 'vanilla') continue;
    const of = groups.filter((group) => group.method === method && counts(group));
    if (of.length === 0) continue;
    const means = of.map((group) => mean(lost(group)));
    lines.push(
      `\n${nameOf(method)}: ${mean(means).toFixed(2)} points above vanilla in the mean of ${of.length} tasks that count (${of.map(({ task }) => task).join(', ')})`,
    );
  }
  return lines.join('\n');
}

/** Where a curve of sizes bends: the smallest size from which on no larger one loses more than this many points. */
const BEND = 1;
export function kneeOf(rows: readonly Row[]): string {
  const sized = groupsOf(rows).filter(({ method }) => typeof method === 'number');
  const sizes = [...new Set(sized.map(({ method }) => method as number))].sort((a, b) => b - a);
  const lossAt = (size: number) => mean(sized.filter(({ method }) => method === size).flatMap(lost));
  let knee: number | undefined;
  for (const size of sizes) {
    if (lossAt(size) < -BEND) break;
    knee = size;
  }
  return knee === undefined
    ? `every size loses more than ${BEND} point`
    : `the knee: down to ${Math.round(100 * knee)} % of the encoder no more than ${BEND} point is lost`;
}
