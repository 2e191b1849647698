/** Modules, initialisers, losses, metrics, optimizers and schedules: all that describes a training, nothing that runs it. */
export { ConfigError } from './common/errors.ts';
export * as init from './common/init.ts';
export * as loss from './loss/loss.ts';
export * as metrics from './loss/metrics.ts';
export type { SumMetric } from './loss/sumMetrics.ts';
export type { Layer, Module } from './model/module.ts';
export { toModule } from './model/module.ts';
export {
  countParameters,
  loadState,
  namedBuffers,
  namedParameters,
  parametersOf,
  type StateEntry,
  stateOf,
} from './model/parameters.ts';
export { type SummaryRow, summary } from './model/summary.ts';
export * as nn from './nn.ts';
export { NORM_BLOCK, normOfBlocks } from './optim/layerwise.ts';
export * as optim from './optim/optim.ts';
export type { Optimizer, UpdateGroup, UpdateInput, UpdateOutput } from './optim/optimizer.ts';
export type { Json, LearningRate, Schedule, ScheduleFunction, Validation } from './optim/schedule.ts';
