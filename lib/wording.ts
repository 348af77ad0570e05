import type { z } from 'zod';

const NEEDED: Record<string, string> = {
  int: 'a whole number',
  number: 'a finite number',
  string: 'a text',
  array: 'a list',
  boolean: 'true or false',
};

/** What is wrong with an option, in words; undefined: in zod's. */
export const worded: z.core.$ZodErrorMap = (issue) => {
  switch (issue.code) {
    case 'invalid_type':
      return `${NEEDED[issue.expected] ?? issue.expected} is needed`;
    case 'invalid_value':
      return `it must be one of ${issue.values.join(', ')}`;
    case 'too_small':
      if (issue.origin === 'string') return 'a text is empty';
      if (issue.origin === 'array') return `there must be at least ${issue.minimum}`;
      return `it must be ${issue.inclusive ? 'at least' : 'above'} ${issue.minimum}`;
    case 'too_big':
      if (issue.origin === 'array') return `there may be at most ${issue.maximum}`;
      return `it must be ${issue.inclusive ? 'at most' : 'below'} ${issue.maximum}`;
    default:
      return undefined;
  }
};
