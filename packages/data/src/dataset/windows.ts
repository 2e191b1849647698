import { checkInteger, DataError } from '../common/errors.ts';
import { type Column, column, type Dataset, dataset } from './dataset.ts';

export interface WindowsOptions {
  /** Tokens of a window, at least 1. */
  readonly length: number;
  /** How many tokens there are: see `Tokenizer.size`. */
  readonly classes: number;
  /** Tokens from the beginning of one window to that of the next. Default 1: every place is a window. */
  readonly stride?: number;
  /** Tokens held back at the end to validate on: a number below 1 is a fraction, else a count; 0: none. Default 0.1. */
  readonly validation?: number;
  /** The same of the validation part. Default `length`: every token is predicted once. */
  readonly validationStride?: number;
  /** The character of each token, as `characters().vocabulary`: lets `lockstep predict` take text. */
  readonly labels?: readonly string[];
  readonly name?: string;
}

/**
 * Windows over a stream of tokens, for a model that predicts the next one: `x` [length] and `y` [length], the same one
 * token later. No window is copied: rows are places in the stream.
 *
 * @throws DataError for a token out of range, or a stream shorter than a window.
 */
export function windows(tokens: Uint8Array | Int32Array, options: WindowsOptions): Dataset<'x' | 'y'> {
  const { length, classes, stride = 1, validation = 0.1, validationStride = length } = options;
  const { name = 'windows', labels } = options;
  checkInteger('windows: length', length, 1);
  checkInteger('windows: classes', classes, 2);
  checkInteger('windows: stride', stride, 1);
  checkInteger('windows: validationStride', validationStride, 1);
  const held = validation < 1 ? Math.round(validation * tokens.length) : validation;
  checkInteger('windows: validation', held, 0, tokens.length);
  const part = (from: number, to: number, step: number): { readonly [K in 'x' | 'y']: Column } => {
    if (to - from < length + 1) {
      throw new DataError(
        'DATA_EMPTY',
        `windows: ${options.name ? `${name}: ` : ''}${to - from} tokens ${from > 0 ? 'to validate on' : 'to train on'} give no window of ${length} and ` +
          'its next token. Take a shorter length, or another validation.',
      );
    }
    const of = (data: Uint8Array | Int32Array): Column =>
      column(data, { shape: [length], as: 'i32', classes, stride: step, ...(labels && { labels }) });
    return { x: of(tokens.subarray(from, to - 1)), y: of(tokens.subarray(from + 1, to)) };
  };
  const cut = tokens.length - held;
  const heldPart =
    held === 0
      ? undefined
      : dataset({ name: `${name} (validation)`, columns: part(cut, tokens.length, validationStride) });
  return dataset({ name, columns: part(0, cut, stride), validation: heldPart });
}
