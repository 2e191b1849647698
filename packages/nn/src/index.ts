/** Modules, initialisers, losses, metrics, optimizers and schedules: all that describes a training, nothing that runs it. */
export { ConfigError } from './errors.ts';
export * as init from './init.ts';
export { NORM_BLOCK, normOfBlocks } from './layerwise.ts';
export * as loss from './loss.ts';
export * as metrics from './metrics.ts';
export type { Layer, Module } from './module.ts';
export { toModule } from './module.ts';
export * as nn from './nn.ts';
export * as optim from './optim.ts';
export type { Optimizer, UpdateGroup, UpdateInput, UpdateOutput } from './optimizer.ts';
export {
  countParameters,
  loadState,
  namedBuffers,
  namedParameters,
  parametersOf,
  type StateEntry,
  stateOf,
} from './parameters.ts';
export type { Json, LearningRate, Schedule, ScheduleFunction, Validation } from './schedule.ts';
export type { SumMetric } from './sumMetrics.ts';
export { type SummaryRow, summary } from './summary.ts';
