export type { StepTime } from '@lockstep/sync';
export type { CheckpointInterval } from './checkpoint/checkpoints.ts';
export { ClusterExecutor } from './cluster/executor.ts';
export { type JoinOptions, join, type NodeOutcome, type NodeReport } from './cluster/join.ts';
export { type ContentStore, type NodeOptions, startNode } from './cluster/node.ts';
export type { ClusterOptions } from './cluster/options.ts';
export { ClusterProfile } from './cluster/profile.ts';
export { RecentSteps } from './cluster/recentSteps.ts';
export { type ServeOptions, serve } from './cluster/serve.ts';
export { defaultCache, diskStore } from './cluster/store.ts';
export { type ColumnRecord, type ColumnRecords, columnRecords, inputRows, joinedRows } from './columns.ts';
export {
  type Batch,
  type DataOptions,
  defineTraining,
  type EarlyStopping,
  type MeasuredBy,
  type MetricDefinition,
  type ResolvedDefinition,
  resolveDefinition,
  type StepFunction,
  type TrainingDefinition,
} from './definition.ts';
export { weightsDigest } from './digest.ts';
export { TrainingError } from './errors.ts';
export { type EvaluateOptions, type EvaluateResult, evaluate, readWeights } from './evaluate.ts';
export type * from './events.ts';
export type { Pause } from './loop.ts';
export { OUTPUT_FILES, type RunRecord } from './output.ts';
export { PoolExecutor } from './pool.ts';
export {
  type LoadedModel,
  type LoadOptions,
  loadModel,
  type Prediction,
  type PredictOptions,
  predict,
  type Rows,
} from './predict.ts';
export { type Prepared, prepare } from './prepare.ts';
export {
  type Activity,
  activities,
  type ProfiledBatch,
  type ProfileOptions,
  type Span,
} from './profile.ts';
export { type Split, SplitTotals } from './profileSplit.ts';
export { type ChromeTrace, type KernelCost, ProfileTrace } from './profileTrace.ts';
export {
  type Run,
  resolveKernels,
  resolveWorkers,
  startExecutor,
  startRun,
  type TrainOptions,
  type TrainResult,
  train,
} from './train.ts';
export { version } from './version.ts';
