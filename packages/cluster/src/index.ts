/**
 * A training run on several machines. Read first: `serve/serve.ts` (what a run on a cluster adds to `train`), then
 * `coordinator/clusterExecutor.ts` (the loop's executor) and `node/node.ts` (what joins it). `wire/` holds what both ends share.
 */
export type { StepTime } from '@lockstep/sync';
export { ClusterExecutor, type ClusterParts } from './coordinator/clusterExecutor.ts';
export type { ClusterOptions } from './coordinator/options.ts';
export { RecentSteps } from './coordinator/recentSteps.ts';
export {
  type CacheEntry,
  clearCache,
  DEFAULT_QUOTA_BYTES,
  defaultCache,
  diskStore,
  listCache,
} from './node/contentCache.ts';
export { EarlyBegin } from './node/earlyBegin.ts';
export { type JoinOptions, join, type NodeOutcome, type NodeReport } from './node/join.ts';
export { type ContentStore, Engines, type NodeOptions, newNodeId, startNode } from './node/node.ts';
export { countStart } from './serve/incarnation.ts';
export { type ServeOptions, serve } from './serve/serve.ts';
export {
  type Bisection,
  bisectRuns,
  bisectTrace,
  type TraceDifference,
  type TraceOptions,
  traceRun,
} from './verify/bisect.ts';
export { arithmeticProof } from './wire/knownAnswer.ts';
export { ClusterProfile } from './wire/profile.ts';
export { modelLayout, type Sizes, unitVector } from './wire/vectors.ts';
