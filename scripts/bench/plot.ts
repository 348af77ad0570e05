import type { Result } from './report.ts';

interface Point {
  x: number;
  y: number;
}

interface Panel {
  title: string;
  xLabel: string;
  yLabel: string;
  points: Point[];
  /** A straight line from the origin through the last point, to see what grows in proportion. */
  proportion?: boolean;
}

const WIDTH = 300;
const HEIGHT = 200;
const LEFT = 60;
const TOP = 40;
const GAP = 90;

/** The first of 1, 2 and 5 times a power of ten that leaves at most six steps. */
function stepOf(largest: number): number {
  const power = 10 ** Math.floor(Math.log10(largest / 6));
  return [1, 2, 5, 10].map((n) => n * power).find((step) => largest / step <= 6)!;
}

function draw({ title, xLabel, yLabel, points, proportion }: Panel, left: number): string {
  const xStep = stepOf(Math.max(...points.map(({ x }) => x)));
  const yStep = stepOf(Math.max(...points.map(({ y }) => y)));
  const end = (step: number, values: number[]) => Math.ceil(Math.max(...values) / step) * step;
  const xEnd = end(
      xStep,
      points.map(({ x }) => x),
    ),
    yEnd = end(
      yStep,
      points.map(({ y }) => y),
    );
  const at = ({ x, y }: Point): [string, string] => [
    (left + (WIDTH * x) / xEnd).toFixed(1),
    (TOP + HEIGHT * (1 - y / yEnd)).toFixed(1),
  ];
  const text = (x: number, y: number, anchor: string, words: string, more = '') =>
    `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" text-anchor="${anchor}"${more}>${words}</text>`;
  const lines: string[] = [text(left + WIDTH / 2, TOP - 18, 'middle', title, ' font-weight="bold"')];
  for (let y = 0; y <= yEnd * 1.001; y += yStep) {
    const [x0, y0] = at({ x: 0, y });
    lines.push(`<line x1="${x0}" y1="${y0}" x2="${left + WIDTH}" y2="${y0}" stroke="#ddd"/>`);
    lines.push(text(left - 6, Number(y0) + 4, 'end', String(Number(y.toFixed(6)))));
  }
  for (let x = 0; x <= xEnd * 1.001; x += xStep)
    lines.push(text(Number(at({ x, y: 0 })[0]), TOP + HEIGHT + 16, 'middle', String(Number(x.toFixed(6)))));
  lines.push(text(left + WIDTH / 2, TOP + HEIGHT + 34, 'middle', xLabel));
  lines.push(text(left - 44, TOP - 18, 'start', yLabel, ' fill="#555"'));
  const sorted = [...points].sort((a, b) => a.x - b.x);
  if (proportion) {
    const [x, y] = at(sorted.at(-1)!);
    const [x0, y0] = at({ x: 0, y: 0 });
    lines.push(`<line x1="${x0}" y1="${y0}" x2="${x}" y2="${y}" stroke="#999" stroke-dasharray="4 4"/>`);
  }
  const path = sorted.map((point) => at(point).join(',')).join(' ');
  lines.push(`<polyline points="${path}" fill="none" stroke="#06c" stroke-width="2"/>`);
  for (const point of sorted) {
    const [x, y] = at(point);
    lines.push(`<circle cx="${x}" cy="${y}" r="3.5" fill="#06c"/>`);
  }
  return lines.join('\n');
}

/** What the suite `growth` measured, as three plots in one SVG picture. */
export function growthPlot(results: readonly Result[]): string {
  const named = results.flatMap((result) => {
    const found = /^roberta-base(?:-(\d+)-layers)?-(\d+)x(\d+)$/.exec(result.case);
    if (result.suite !== 'growth' || !found) return [];
    const [layers, batch, length] = found.slice(1).map((n) => Number(n ?? 12)) as [number, number, number];
    return [{ ...result, layers, batch, length }];
  });
  const seconds = 'seconds';
  const panels: Panel[] = [
    {
      ...{ title: 'texts of 128 tokens', xLabel: 'tokens in a batch', yLabel: seconds, proportion: true },
      points: named
        .filter(({ layers, length }) => layers === 12 && length === 128)
        .map((r) => ({ x: r.batch * 128, y: r.medianSeconds })),
    },
    {
      ...{ title: '8 texts of 128 tokens', xLabel: 'layers', yLabel: seconds, proportion: true },
      points: named
        .filter(({ batch, length }) => batch === 8 && length === 128)
        .map((r) => ({ x: r.layers, y: r.medianSeconds })),
    },
    {
      ...{ title: 'attention among 1,024 tokens', xLabel: 'length of each text', yLabel: '% of the step' },
      points: named
        .filter(({ layers, batch, length }) => layers === 12 && batch * length === 1024)
        .map((r) => ({ x: r.length, y: 100 * (r.attentionShare ?? NaN) })),
    },
  ];
  const width = LEFT + panels.length * WIDTH + (panels.length - 1) * GAP + 30;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${TOP + HEIGHT + 50}" font-family="sans-serif" font-size="12">`,
    '<rect width="100%" height="100%" fill="white"/>',
    ...panels.map((panel, i) => draw(panel, LEFT + i * (WIDTH + GAP))),
    '</svg>\n',
  ].join('\n');
}
