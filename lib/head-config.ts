import type { Spec } from './checkpoint/spec.ts';
import type { HeadConfig } from './native.ts';

/** A spec's head with so many outputs. */
export const headConfig = (
  { head, headDropout }: Pick<Spec, 'head' | 'headDropout'>,
  outputs: number,
  frozen = false,
): HeadConfig => ({
  outputs,
  dense: head.kind === 'dense',
  bias: head.bias,
  dropoutFirst: head.dropoutFirst,
  frozen,
  activation: head.activation,
  dropout: headDropout,
});
