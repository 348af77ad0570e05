import { expect } from 'chai';
import { progressTo } from '../../lib/progress.ts';

describe('progress', () => {
  const at = (step: number) => ({ step, steps: 4, loss: 0.5, tokensPerSecond: 1234.5, halvings: 0 });
  const shown = (isTTY: boolean): string => {
    let text = '';
    const write = (piece: string | Uint8Array) => {
      text += String(piece);
      return true;
    };
    const tell = progressTo({ isTTY, write }, 'train');
    for (const step of [2, 4]) tell(at(step));
    return text;
  };

  it('is lines where nobody looks', () => {
    expect(shown(false)).equal(
      'train: step 2/4, loss 0.5000, 1235 tokens/s\ntrain: step 4/4, loss 0.5000, 1235 tokens/s\n',
    );
  });

  it('is one bar on a terminal, which ends with a line', () => {
    const text = shown(true);
    expect(text.split('\n')).lengthOf(2);
    expect(text).contain(`\rtrain ${'█'.repeat(12)}${'░'.repeat(12)} step 2/4`);
  });
});
