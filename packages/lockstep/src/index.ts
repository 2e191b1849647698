/** Lockstep: data-parallel training on every core, the same bits whatever the number of workers. */
export * from '@lockstep/autograd';
export * as data from '@lockstep/data';
export type { Layer, Module, Optimizer, StateEntry } from '@lockstep/nn';
export {
  ConfigError,
  countParameters,
  init,
  loadState,
  loss,
  metrics,
  namedParameters,
  nn,
  optim,
  stateOf,
} from '@lockstep/nn';
export {
  type Batch,
  type Callbacks,
  type CheckpointEvent,
  type CheckpointInterval,
  type DataOptions,
  type DoneEvent,
  defineTraining,
  type EarlyStopping,
  type EpochEvent,
  type EvaluateOptions,
  type EvaluateResult,
  evaluate,
  type Run,
  readWeights,
  type StartEvent,
  type StepEvent,
  type TrainingDefinition,
  TrainingError,
  type TrainingEvent,
  type TrainOptions,
  type TrainResult,
  train,
  version,
  weightsDigest,
} from '@lockstep/trainer';
