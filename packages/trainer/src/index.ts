export * from './definition.ts';
export { weightsDigest } from './digest.ts';
export * from './flat.ts';
export { PoolExecutor } from './pool.ts';
