/** One contender's part of a case. */
export interface Result {
  suite: string;
  case: string;
  contender: string;
  dropout: number;
  medianSeconds: number;
  /** Interquartile range over the median. */
  spread: number;
  tokensPerSecond: number;
  paddedTokensPerSecond: number;
  gflops: number;
  peakShare: number;
  /** 0: not known. */
  peakMemoryBytes: number;
  /** Kept from the forward to the backward pass, and what a block's backward cannot do without in bfloat16. */
  activationBytes?: number | undefined;
  activationMinimumBytes?: number | undefined;
  /** Of the step's time, what attention alone takes; where texts are of one length. */
  attentionShare?: number | undefined;
  /** Of its median to the first contender's. */
  ratio: number;
  note?: string | undefined;
}

export interface BenchReport {
  machine: Record<string, unknown>;
  /** GFLOP/s by case: the best bf16 product at its sizes, the median of all rounds. */
  gemmPeak: Record<string, number>;
  results: Result[];
  /** What other suites print. */
  more: Record<string, unknown>;
}

export function quantile(values: readonly number[], at: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  const place = at * (sorted.length - 1);
  const low = Math.floor(place);
  return sorted[low]! + (place - low) * (sorted[Math.ceil(place)]! - sorted[low]!);
}

const WIDTH = 24;

/** A line for each contender; the bars are seconds. */
export function table(results: readonly Result[]): string {
  const lines: string[] = [];
  const groups = new Map<string, Result[]>();
  for (const result of results) {
    const key = `${result.suite}: ${result.case}, dropout ${result.dropout}`;
    groups.set(key, [...(groups.get(key) ?? []), result]);
  }
  for (const [name, group] of groups) {
    const longest = Math.max(...group.map(({ medianSeconds }) => medianSeconds));
    lines.push('', name);
    for (const r of group)
      lines.push(
        [
          `  ${r.contender.padEnd(20)}`,
          '█'.repeat(Math.max(1, Math.round((WIDTH * r.medianSeconds) / longest))).padEnd(WIDTH),
          `${(r.medianSeconds * 1000).toFixed(r.medianSeconds < 0.1 ? 2 : 0).padStart(7)} ms ±${(50 * r.spread).toFixed(0).padStart(2)} %`,
          `${r.ratio.toFixed(2).padStart(6)} x`,
          `${Math.round(r.tokensPerSecond).toString().padStart(7)} tok/s`,
          `${r.gflops.toFixed(0).padStart(4)} GF/s`,
          `${(100 * r.peakShare).toFixed(0)} % of peak`,
          ...(r.peakMemoryBytes ? [`${Math.round(r.peakMemoryBytes / 2 ** 20)} MiB`] : []),
          ...(r.activationBytes ? [`(${Math.round(r.activationBytes / 2 ** 20)} of activations)`] : []),
        ].join(' '),
      );
  }
  return lines.join('\n');
}

/** What became slower than an earlier report's by more than the noise of both. */
export function regressions(now: readonly Result[], before: readonly Result[]): string[] {
  return now.flatMap((result) => {
    const same = (r: Result) =>
      r.suite === result.suite &&
      r.case === result.case &&
      r.contender === result.contender &&
      r.dropout === result.dropout;
    const old = before.find(same);
    if (!old) return [];
    const growth = result.medianSeconds / old.medianSeconds - 1;
    const noise = Math.max(0.05, result.spread + old.spread);
    if (growth <= noise) return [];
    const percent = (share: number) => `${(100 * share).toFixed(0)} %`;
    return [
      `${result.suite} ${result.case} ${result.contender}: ${percent(growth)} slower, noise ${percent(noise)}`,
    ];
  });
}
