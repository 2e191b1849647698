export { type ArrayLike, arrays, labels, type NdArray, type Nested } from './arrays.ts';
export { type CsvOptions, csv } from './csv.ts';
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
} from './dataset.ts';
export { type DigitsOptions, digits } from './digits.ts';
export {
  cacheFolder,
  type DownloadOptions,
  type DownloadProgress,
  download,
  onDownload,
} from './download.ts';
export { DataError, type DataErrorCode } from './errors.ts';
export { writeWhole } from './files.ts';
export { readIdx } from './idx.ts';
export { fashionMnist, type MnistOptions, mnist } from './mnist.ts';
export { readNpy, writeNpy } from './npy.ts';
export { type Image, readPng, writePng } from './png.ts';
export { type RowSource, readRows } from './rows.ts';
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
} from './safetensors.ts';
export { type BatchPlace, Sampler, type SamplerOptions } from './sampler.ts';
export { type Series, type SeriesOptions, series } from './series.ts';
export { split } from './split.ts';
export { type Moments, moments, standardize } from './standardize.ts';
export {
  bytes,
  type CharacterTokenizer,
  characters,
  type Tokenizer,
  type TokenizerLibrary,
  tokenizer,
} from './tokenizers.ts';
export { type WindowsOptions, windows } from './windows.ts';
