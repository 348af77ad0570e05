import type { Result } from '../../scripts/bench/report.ts';

export const result = (changes: Partial<Result>): Result => ({
  suite: 'step',
  case: 'a',
  contender: 'light-peft-vanilla',
  dropout: 0,
  medianSeconds: 1,
  spread: 0.02,
  tokensPerSecond: 1,
  paddedTokensPerSecond: 1,
  gflops: 1,
  peakShare: 1,
  peakMemoryBytes: 1,
  ratio: 1,
  ...changes,
});
