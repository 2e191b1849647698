export {
  type Column,
  type ColumnData,
  type ColumnOptions,
  type ColumnType,
  column,
  contentHash,
  type Dataset,
  type DatasetParts,
  dataset,
  rowSize,
  sliceRows,
  takeRows,
} from './dataset.ts';
export { type DigitsOptions, digits } from './digits.ts';
export { DataError, type DataErrorCode } from './errors.ts';
export { type BatchPlace, Sampler, type SamplerOptions } from './sampler.ts';
export { split } from './split.ts';
export { type Moments, moments, standardize } from './standardize.ts';
