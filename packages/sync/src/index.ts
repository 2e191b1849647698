export {
  admits,
  type Coordinator,
  coordinate,
  createCoordinator,
  expects,
  nextWake,
} from './coordinator.ts';
export * from './coordinatorTypes.ts';
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
export { makespan, shareOut } from './shares.ts';
export * from './tree.ts';
