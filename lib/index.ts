export { openCheckpoint, type Checkpoint } from './checkpoint/folder.ts';
export { Model, Session, type Dtype } from './engine.ts';
export { LightPeftError, type ErrorCode } from './errors.ts';
export type { SessionConfig, StepMetrics } from './native.ts';
export { makePlan, parsePlan, type Plan } from './plan/plan.ts';
export { Tokenizer } from './tokenizer.ts';
