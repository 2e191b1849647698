/** Optimizers and learning rate schedules. */
export { type AdamOptions, adam, adamw } from './adam.ts';
export {
  type CommonOptions,
  defineOptimizer as define,
  type Optimizer,
  type OptimizerRule,
  type UpdateInput,
  type UpdateOutput,
} from './optimizer.ts';
export {
  type CosineOptions,
  constant,
  cosine,
  type LearningRate,
  type Schedule,
  type ScheduleFunction,
  type StepOptions,
  step,
  toSchedule,
  type WarmupOptions,
  warmup,
} from './schedule.ts';
export { type SgdOptions, sgd } from './sgd.ts';
