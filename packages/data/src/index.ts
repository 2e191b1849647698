export { DataError, type DataErrorCode } from './common/errors.ts';
export { writeWhole } from './common/files.ts';
export { type ArrayLike, arrays, labels, type NdArray, type Nested } from './dataset/arrays.ts';
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
  rowStride,
  sliceRows,
  takeRows,
} from './dataset/dataset.ts';
export { type BatchPlace, Sampler, type SamplerOptions } from './dataset/sampler.ts';
export { split } from './dataset/split.ts';
export { type Moments, moments, standardize } from './dataset/standardize.ts';
export { type WindowsOptions, windows } from './dataset/windows.ts';
export { type CsvOptions, csv } from './formats/csv.ts';
export { readIdx } from './formats/idx.ts';
export { readNpy, writeNpy } from './formats/npy.ts';
export { type Image, readPng, writePng } from './formats/png.ts';
export { type RowSource, readRows } from './formats/rows.ts';
export {
  encodeSafetensors,
  readSafetensors,
  readSafetensorsFile,
  type SafetensorsFile,
  type StoredTensor,
  type TensorData,
  type TensorToStore,
  type TensorType,
  writeSafetensors,
} from './formats/safetensors.ts';
export { type Series, type SeriesOptions, series } from './formats/series.ts';
export {
  bytes,
  type CharacterTokenizer,
  characters,
  type Tokenizer,
  type TokenizerLibrary,
  tokenizer,
} from './formats/tokenizers.ts';
export { type DigitsOptions, digits } from './sets/digits.ts';
export {
  cacheFolder,
  type DownloadOptions,
  type DownloadProgress,
  download,
  onDownload,
} from './sets/download.ts';
export { fashionMnist, type MnistOptions, mnist } from './sets/mnist.ts';
