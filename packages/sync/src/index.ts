export { isNodeName } from '@lockstep/protocol';
export { BucketLedger, InvariantError } from './bucketLedger.ts';
export * from './buckets.ts';
export { coordinate } from './coordinator.ts';
export { admits, type Coordinator, createCoordinator, expects, nextWake } from './coordinatorState.ts';
export * from './coordinatorTypes.ts';
export { Deliveries } from './deliveries.ts';
export { type Clock, ClockOffset, systemClock, wallClock } from './driver/clock.ts';
export { CoordinatorDriver } from './driver/coordinatorDriver.ts';
export type {
  Content,
  CoordinatorDriverOptions,
  CoordinatorHost,
  NodeInfo,
} from './driver/coordinatorHost.ts';
export type { DataPlane, ModelReceiver, NotFinite } from './driver/dataPlane.ts';
export * from './driver/nodeDriver.ts';
export * from './driver/nodeWork.ts';
export { Copies, Published } from './driver/published.ts';
export { RefusedError } from './driver/refusedError.ts';
export {
  createNode,
  type NodeConfig,
  type NodeEffect,
  type NodeEvent,
  type NodeState,
  nodeAdmits,
  nodeWake,
  operate,
} from './node.ts';
export * from './recipe.ts';
export * from './reducer.ts';
export { type Cost, makespan, shareOut } from './shares.ts';
export { everyPart, type StepTime, StepTimer } from './stepTime.ts';
export * from './transport.ts';
export * from './tree.ts';
export * from './websocket/index.ts';
