/** Optimizers and learning rate schedules. */

export { type Match, type NamedShape, vectors } from '../model/match.ts';
export { type AdamOptions, adam, adamw } from './adam.ts';
export {
  type LionOptions,
  lion,
  type NadamOptions,
  nadam,
  type RadamOptions,
  radam,
} from './adamKin.ts';
export {
  type AdadeltaOptions,
  type AdagradOptions,
  adadelta,
  adagrad,
  type RmspropOptions,
  rmsprop,
} from './adaptive.ts';
export { type LambOptions, lamb } from './lamb.ts';
export { type LarsOptions, lars } from './lars.ts';
export type { LayerRule } from './layerwise.ts';
export {
  type CommonOptions,
  defineOptimizer as define,
  type Group,
  type Optimizer,
  type OptimizerRule,
  type UpdateGroup,
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
  type Validation,
  type WarmupOptions,
  warmup,
} from './schedule.ts';
export {
  type CosineRestartsOptions,
  cosineRestarts,
  type ExponentialOptions,
  exponential,
  type MultiStepOptions,
  multiStep,
  type OneCycleOptions,
  oneCycle,
  type PlateauOptions,
  type PolynomialOptions,
  plateau,
  polynomial,
  type Stretch,
  sequence,
} from './schedules.ts';
export { type SgdOptions, sgd } from './sgd.ts';
