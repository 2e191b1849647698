export { isNodeName } from '@lockstep/protocol';
export { coordinate } from './core/coordinator.ts';
export { admits, type Coordinator, createCoordinator, expects, nextWake } from './core/coordinatorState.ts';
export * from './core/coordinatorTypes.ts';
export {
  createNode,
  type NodeConfig,
  type NodeEffect,
  type NodeEvent,
  type NodeState,
  nodeAdmits,
  nodeWake,
  operate,
} from './core/node.ts';
export { type Cost, makespan, shareOut } from './core/shares.ts';
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
export { everyPart, type StepTime, StepTimer } from './driver/stepTime.ts';
export { BucketLedger, InvariantError } from './reduce/bucketLedger.ts';
export * from './reduce/buckets.ts';
export { Deliveries } from './reduce/deliveries.ts';
export * from './reduce/reducer.ts';
export * from './reduce/tree.ts';
export * from './transport/transport.ts';
export * from './websocket/index.ts';
