import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { goalLine, goalsOf } from '../../scripts/bench/goals.ts';
import { cudaOf } from '../../scripts/bench/gpu.ts';
import { GPU_SUITES, pickedCases, SUITES } from '../../scripts/bench/suites.ts';
import { result } from './results.ts';

const H200 = 'NVIDIA H200';

/** Cases of a suite that were asked for, and what a contender made of the first of them. */
const asked = (suite: (typeof GPU_SUITES)[number], names?: string[]) =>
  pickedCases(SUITES[suite].cases, { dropout: 0.1, ...(names && { case: names }) }).map((of) => ({
    suite,
    of,
  }));
const made = (suite: string, name: string, contender: string, medianSeconds: number, gflops = 1) =>
  result({ suite, case: name, contender, dropout: 0.1, medianSeconds, gflops, peakShare: gflops });

const met = (goals: ReturnType<typeof goalsOf>) => goals.map((goal) => goal.met);

describe("a GPU's goals", () => {
  const large = 'roberta-large-32x128';

  it('are computed from the contenders of a case', () => {
    const step = (contender: string, seconds: number, gflops: number) =>
      made('gpu-step', large, contender, seconds, gflops);
    // Of two batches each; the light model does half of the operations in 0.54 of the time.
    const results = [
      step('light-peft-vanilla', 0.028, 100),
      step('light-peft-light', 0.01512, 100 / 1.08),
      step('light-peft-estimate', 0.03, 100),
    ];
    const goals = goalsOf(asked('gpu-step'), results, H200);
    const found = goals.map((goal) => Number(goal.found!.toFixed(3)));
    expect(found).deep.equal([14, 1.071, 0.926]);
    expect(met(goals)).deep.equal([true, false, true]);
    expect(goalLine(goals[1]!)).equal(
      'missed  roberta-large-32x128, dropout 0.1: estimation step over a plain one: 1.071 (at most 1.05)',
    );
  });

  it('ask for milliseconds of the GPU that they are known for alone', () => {
    const goals = goalsOf(asked('gpu-step'), [made('gpu-step', large, 'light-peft-vanilla', 9)], 'NVIDIA L4');
    expect(goals.filter(({ goal }) => goal.includes('milliseconds'))).empty;
    expect(goals).lengthOf(2);
  });

  it('hold the peers at their best', () => {
    const peer = (contender: string, seconds: number) => made('gpu-peers', large, contender, seconds);
    const ours = peer('light-peft-vanilla', 1);
    const results = [ours, peer('hf-peft-bf16', 3.2), peer('hf-peft-compiled', 1.7)];
    expect(met(goalsOf(asked('gpu-peers', [large]), results, H200))).deep.equal([true, false]);
    const slow = [ours, peer('hf-peft-bf16', 1.9), peer('hf-peft-compiled', 2.5)];
    const goals = goalsOf(asked('gpu-peers', [large]), slow, H200);
    expect(goals.map(({ found }) => found)).deep.equal([1.9, 1.9]);
  });

  it('are missed where a contender is', () => {
    const results = [made('gpu-peers', large, 'light-peft-vanilla', 1)];
    const goals = goalsOf(asked('gpu-peers', [large]), results, H200);
    expect(met(goals)).deep.equal([false, false]);
    expect(goalLine(goals[0]!)).contain('not measured');
    expect(met(goalsOf(asked('gpu-decoders'), [], H200))).deep.equal([false, false]);
  });

  it('are about every case of the suites but inference', () => {
    for (const suite of GPU_SUITES)
      for (const of of SUITES[suite].cases) {
        const goals = goalsOf([{ suite, of }], [], H200);
        expect(goals.length > 0, `${suite} ${of.name}`).equal(suite !== 'gpu-inference');
      }
  });

  it('are written beside the CUDA of LibTorch', () => {
    expect(cudaOf('2.11.0+cu128', '/nowhere')).equal('12.8');
    expect(cudaOf('2.13.0+cpu', '/nowhere')).undefined;
    const folder = mkdtempSync(join(tmpdir(), 'light-peft-'));
    try {
      writeFileSync(join(folder, 'version.py'), "debug = False\ncuda: Optional[str] = '13.0'\nhip = None\n");
      expect(cudaOf('2.13.0', folder)).equal('13.0');
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
