export * from './cores.ts';
export * from './heap.ts';
export {
  type Call,
  type Gate,
  MAX_PHASES,
  type Plan,
  type Pointer,
  type PoolProgram,
  type PoolTask,
  placePlans,
  RECORD,
  RESULT,
  tickOffset,
} from './plan.ts';
export * from './pool.ts';
