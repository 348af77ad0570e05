import { LightPeftError } from './errors.ts';
import type { Settings } from './options.ts';

export const number = (text: string): number => {
  const value = Number(text);
  if (text.trim() === '' || Number.isNaN(value))
    throw new LightPeftError('BAD_OPTION', `"${text}" is not a number`);
  return value;
};
export const list = (text: string): string[] => text.split(',').map((item) => item.trim());

/** None, to take back those that an earlier run was given. */
export const numbers = (text: string): number[] => (text.trim() === '' ? [] : list(text).map(number));

export type Command =
  'estimate' | 'train' | 'vanilla-train' | 'pretrain' | 'evaluate' | 'predict' | 'generate';

/** What a flag takes, of which commands, and which of them cannot do without it. */
export interface Flag {
  name: keyof Settings;
  takes?: string;
  help: string;
  of: readonly Command[];
  needs?: readonly Command[];
  parse?: (text: string) => unknown;
  /** Whether it adds to a list each time. */
  several?: boolean;
}
