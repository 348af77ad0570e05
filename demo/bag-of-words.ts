import type { DemoExample } from './task.ts';

const SWEEPS = 200;
const RATE = 0.5;
const MOMENTUM = 0.9;
const L2 = 1e-4; // of the mean loss

const wordsOf = (sentence: string): string[] => sentence.toLowerCase().match(/[a-z]{2,}/g) ?? [];

/**
 * What can be told from which words a sentence holds, whatever their order: the share of `validation` that logistic
 * regression on word counts labels rightly once it is fitted to `train` by gradient descent.
 */
export const bagOfWordsAccuracy = (
  train: readonly DemoExample[],
  validation: readonly DemoExample[],
): number => {
  const ids = new Map<string, number>();
  const rows = train.map(({ sentence }) =>
    wordsOf(sentence).map((word) => {
      const id = ids.get(word) ?? ids.size;
      ids.set(word, id);
      return id;
    }),
  );

  const weights = new Float64Array(ids.size);
  const speed = new Float64Array(ids.size);
  let bias = 0;
  let biasSpeed = 0;
  const score = (row: readonly number[]): number => row.reduce((sum, id) => sum + weights[id]!, bias);

  for (let sweep = 0; sweep < SWEEPS; sweep++) {
    const gradient = weights.map((weight) => L2 * weight);
    let biasGradient = 0;
    rows.forEach((row, i) => {
      const excess = (1 / (1 + Math.exp(-score(row))) - train[i]!.label) / rows.length;
      for (const id of row) gradient[id]! += excess;
      biasGradient += excess;
    });
    for (let id = 0; id < weights.length; id++) {
      speed[id] = MOMENTUM * speed[id]! - RATE * gradient[id]!;
      weights[id]! += speed[id]!;
    }
    biasSpeed = MOMENTUM * biasSpeed - RATE * biasGradient;
    bias += biasSpeed;
  }

  const right = validation.filter(({ sentence, label }) => {
    const known = wordsOf(sentence).flatMap((word) => ids.get(word) ?? []);
    return score(known) > 0 === (label === 1);
  });
  return right.length / validation.length;
};
