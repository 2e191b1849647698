export type { StepTime } from '@lockstep/sync';
export { ClusterExecutor } from './cluster/executor.ts';
export { type JoinOptions, join, type NodeOutcome, type NodeReport } from './cluster/join.ts';
export { type ContentStore, type NodeOptions, startNode } from './cluster/node.ts';
export type { ClusterOptions } from './cluster/options.ts';
export { ClusterProfile } from './cluster/profile.ts';
export { RecentSteps } from './cluster/recentSteps.ts';
export { type ServeOptions, serve } from './cluster/serve.ts';
export { defaultCache, diskStore } from './cluster/store.ts';
export {
  type ColumnRecord,
  type ColumnRecords,
  columnRecords,
  inputRows,
  joinedRows,
} from './define/columns.ts';
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
} from './define/definition.ts';
export { weightsDigest } from './define/digest.ts';
export { TrainingError } from './define/errors.ts';
export { type Prepared, prepare } from './define/prepare.ts';
export { version } from './define/version.ts';
export { type EvaluateOptions, type EvaluateResult, evaluate } from './evaluate.ts';
export type { CheckpointInterval } from './files/checkpoint/checkpoints.ts';
export { OUTPUT_FILES, type RunRecord } from './files/output.ts';
export { readWeights } from './files/weights.ts';
export { PoolExecutor } from './local/poolExecutor.ts';
export { resolveKernels, resolveWorkers, type ThreadOptions } from './local/threads.ts';
export {
  type LoadedModel,
  type LoadOptions,
  loadModel,
  type Prediction,
  type PredictOptions,
  predict,
  type Rows,
} from './predict/predict.ts';
export {
  type Activity,
  activities,
  type ProfiledBatch,
  type ProfileOptions,
  type Span,
} from './profile/spans.ts';
export { type Split, SplitTotals } from './profile/split.ts';
export { type ChromeTrace, type KernelCost, ProfileTrace } from './profile/trace.ts';
export type * from './run/events.ts';
export type { Pause } from './run/loop.ts';
export {
  type Run,
  startExecutor,
  startRun,
  type TrainOptions,
  type TrainResult,
  train,
} from './train.ts';
