import type { Result } from './report.ts';
import type { Case, Contenders } from './suites.ts';

/** What one run is held to, and what it found. */
export interface Goal {
  goal: string;
  bound: 'at most' | 'at least';
  wanted: number;
  /** Absent: what it is computed from was not measured. */
  found?: number;
  met: boolean;
}

/** A case that a run was asked for, measured or not. */
export interface Asked {
  suite: string;
  of: Case;
}

interface Kind extends Pick<Goal, 'bound' | 'wanted'> {
  what: string;
  suite: string;
  /** The case that it is about; all of the suite's where none is named. */
  case?: string;
  /** GPUs that it is about, where a figure says nothing of others. */
  gpu?: RegExp;
  /** The contenders that it compares. */
  needs: Contenders[];
  found: (results: Result[], of: Case) => number;
}

const LARGE = { suite: 'gpu-peers', case: 'roberta-large-32x128' };
const SST2 = { suite: 'gpu-peers', case: 'roberta-large-sst2-32' };

/** How many times as long as the first the fastest of the others takes. */
const timesAsFast = ([ours, ...peers]: Result[]): number =>
  Math.min(...peers.map(({ medianSeconds }) => medianSeconds)) / ours!.medianSeconds;

const KINDS: Kind[] = [
  {
    what: 'milliseconds of a step',
    ...{ suite: 'gpu-step', case: 'roberta-large-32x128', gpu: /\bH200\b/ },
    ...{ bound: 'at most', wanted: 15 },
    needs: ['light-peft-vanilla'],
    found: ([ours], { batches }) => (1000 * ours!.medianSeconds) / batches.length,
  },
  {
    what: 'estimation step over a plain one',
    ...{ suite: 'gpu-step', bound: 'at most', wanted: 1.05 },
    needs: ['light-peft-vanilla', 'light-peft-estimate'],
    found: timesAsFast,
  },
  {
    what: 'speed-up of the light step over that of its operations',
    ...{ suite: 'gpu-step', bound: 'at least', wanted: 0.9 },
    needs: ['light-peft-vanilla', 'light-peft-light'],
    // Of times over that of operations: the same as what is done in a second, after and before.
    found: ([whole, light]) => light!.gflops / whole!.gflops,
  },
  {
    what: 'share of the matrix peak',
    ...{ suite: 'gpu-decoders', bound: 'at least', wanted: 0.55 },
    needs: ['light-peft-vanilla'],
    found: ([ours]) => ours!.peakShare,
  },
  {
    what: 'times as fast as Hugging Face PEFT, eager',
    ...{ ...LARGE, bound: 'at least', wanted: 3 },
    needs: ['light-peft-vanilla', 'hf-peft-bf16'],
    found: timesAsFast,
  },
  {
    what: 'times as fast as its best of eager and compiled',
    ...{ ...LARGE, bound: 'at least', wanted: 1.8 },
    needs: ['light-peft-vanilla', 'hf-peft-bf16', 'hf-peft-compiled'],
    found: timesAsFast,
  },
  {
    what: 'times as fast as Hugging Face PEFT, eager, padded to the longest of a batch',
    ...{ ...SST2, bound: 'at least', wanted: 3 },
    needs: ['light-peft-vanilla', 'hf-peft-bf16'],
    found: timesAsFast,
  },
  {
    what: 'times as fast as the same, compiled',
    ...{ ...SST2, bound: 'at least', wanted: 3 },
    needs: ['light-peft-vanilla', 'hf-peft-compiled'],
    found: timesAsFast,
  },
];

function goalOf({ what, bound, wanted, needs, found }: Kind, of: Case, measured: readonly Result[]): Goal {
  const goal = { goal: `${of.name}, dropout ${of.dropout}: ${what}`, bound, wanted };
  const results = needs.map((name) => measured.find(({ contender }) => contender === name));
  if (!results.every((result) => result !== undefined)) return { ...goal, met: false };
  const value = found(results, of);
  return { ...goal, found: value, met: bound === 'at most' ? value <= wanted : value >= wanted };
}

/** The goals of the cases that were asked for, on a GPU of this name. Those that were not measured are missed. */
export const goalsOf = (asked: readonly Asked[], results: readonly Result[], gpu: string): Goal[] =>
  asked.flatMap(({ suite, of }) =>
    KINDS.filter(
      (kind) => kind.suite === suite && (kind.case ?? of.name) === of.name && (kind.gpu?.test(gpu) ?? true),
    ).map((kind) => {
      const same = (r: Result) => r.suite === suite && r.case === of.name && r.dropout === of.dropout;
      return goalOf(kind, of, results.filter(same));
    }),
  );

export const goalLine = ({ goal, bound, wanted, found, met }: Goal): string =>
  `${met ? 'met   ' : 'missed'}  ${goal}: ${found?.toFixed(3) ?? 'not measured'} (${bound} ${wanted})`;
