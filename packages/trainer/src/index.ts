/**
 * `defineTraining` and `train`: composes autograd, compiler, nn, data and workers. Read first: `define/definition.ts` (what a
 * run is), `train.ts` (from a definition to trained weights), `run/loop.ts` (the loop over batches).
 */
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
export { slices } from './define/layout.ts';
export { type Prepared, prepare } from './define/prepare.ts';
export { version } from './define/version.ts';
export { type EvaluateOptions, type EvaluateResult, evaluate } from './evaluate.ts';
export {
  type CheckpointInterval,
  Checkpoints,
  type CheckpointsOptions,
} from './files/checkpoint/checkpoints.ts';
export { definitionHash, runDefinition } from './files/checkpoint/fingerprint.ts';
export { diskFolder, type FileWriter, type Folder } from './files/checkpoint/folder.ts';
export { OUTPUT_FILES, type RunRecord } from './files/output.ts';
export { cannotWrite, makeFolder, writeLasting } from './files/runFolder.ts';
export { readWeights } from './files/weights.ts';
export { findNonFinite } from './local/diagnosis.ts';
export { PoolExecutor, type PoolExecutorOptions } from './local/poolExecutor.ts';
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
  markPrograms,
  type ProfiledBatch,
  type ProfileOptions,
  Profiler,
  type Span,
} from './profile/spans.ts';
export { type Split, SplitTotals } from './profile/split.ts';
export {
  type ChromeTrace,
  chromeTrace,
  type KernelCost,
  NETWORK,
  ProfileTrace,
  STEPS,
  type TraceEvent,
} from './profile/trace.ts';
export type * from './run/events.ts';
export type { BatchJob, Executor, ExecutorState, Sums } from './run/executor.ts';
export { Loop, type LoopInput, type LoopOutcome, type Pause, type Progress } from './run/loop.ts';
export { Rewind } from './run/rewind.ts';
export { checkIndexes } from './step/checkIndexes.ts';
export { at, MemoryProgram } from './step/memoryProgram.ts';
export { countSums } from './step/metrics.ts';
export { compileCombine, compileUnit, RECORD_WORDS } from './step/programs.ts';
export { checkRegions, type ProgramKind } from './step/regions.ts';
export { traceStep } from './step/trace.ts';
export {
  type Run,
  type RunContext,
  startExecutor,
  startRun,
  type TrainOptions,
  type TrainResult,
  train,
} from './train.ts';
export { type Fact, type FactDifference, type FactKind, firstDifference } from './verify/facts.ts';
export { checkDefinition, definitionOf, type RecordedRun, readRecordedRun } from './verify/recorded.ts';
export { replay } from './verify/replay.ts';
export {
  loadProgress,
  type Verification,
  type VerifyDifference,
  type VerifyOptions,
  verifyRun,
  verifyWith,
} from './verify/verify.ts';
