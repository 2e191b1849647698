/** New rows for a model that was trained on a column: from an image, a table, an array or a text. */
import { extname } from 'node:path';
import { DataError, type DataErrorCode } from '../common/errors.ts';
import { readBytes } from '../common/files.ts';
import { type Column, rowSize } from '../dataset/dataset.ts';
import { standardized } from '../dataset/standardize.ts';
import { decimal, indexOf, numberIn, parseRows } from './csv.ts';
import { readNpy } from './npy.ts';
import { readPng } from './png.ts';

/** A file, or a text as it is. */
export type RowSource = { readonly path: string } | { readonly text: string };

const fail = (code: DataErrorCode, name: string, problem: string, options?: ErrorOptions): never => {
  throw new DataError(code, `input ${name}: ${problem}`, options);
};

const readers: Readonly<Record<string, (like: Column, path: string) => Column | Promise<Column>>> = {
  '.png': readImage,
  '.csv': readCsv,
  '.npy': readArray,
  '.txt': (like, path) => readText(like, Buffer.from(readBytes('input', path)).toString('utf8'), path),
};

/**
 * Rows like those of a column, which says how they look (its own rows do not count): sizes, scaling, names of features,
 * characters of tokens. Numbers are those of the training data's source, before they were standardized.
 *
 * - `.png`: one row; bytes of [height, width], [1 or 3, height, width], or of a square as one axis. Transparent is black.
 * - `.csv`: a row per line, by the names of the features where they are known; of a series the last lines as one row.
 * - `.npy`: [rows, ...shape], or one row.
 * - `.txt` and text: one row of tokens, the last ones where they are too many.
 *
 * @throws DataError that names the input, for a file that is not there, of another kind, or of another shape.
 */
export async function readRows(like: Column, source: RowSource): Promise<Column> {
  if ('text' in source) return readText(like, source.text, JSON.stringify(shortened(source.text)));
  const { path } = source;
  const reader = readers[extname(path).toLowerCase()];
  if (reader) return reader(like, path);
  return fail('DATA_FORMAT', path, `a file that ends in ${extname(path) || 'nothing'}; expected ${known}.`);
}

const known = Object.keys(readers).join(', ');
const shortened = (text: string): string => (text.length > 20 ? `${text.slice(0, 20)}…` : text);
const show = (shape: readonly number[]): string => `[${shape.join(', ')}]`;

/** Numbers as a column takes them: standardized as it was, whole where it holds bytes or labels. */
function toColumn(like: Column, numbers: ArrayLike<number>, shape: readonly number[], name: string): Column {
  const { stride: _, ...kept } = like;
  if (like.dtype === 'f32') {
    const { fit } = like;
    const scaled = (value: number, i: number): number =>
      fit ? standardized(value, fit[i % fit.length]!) : value;
    return { ...kept, shape, data: Float32Array.from(numbers, scaled) };
  }
  const limit = like.classes ?? (like.dtype === 'u8' ? 256 : 2 ** 31);
  const wrong = Array.from(numbers).findIndex(
    (value) => !(Number.isInteger(value) && value >= 0 && value < limit),
  );
  if (wrong >= 0) {
    fail('DATA_VALUE', name, `got ${numbers[wrong]}; expected whole numbers from 0 to ${limit - 1}.`);
  }
  return { ...kept, shape, data: like.dtype === 'u8' ? Uint8Array.from(numbers) : Int32Array.from(numbers) };
}

// ─── images ──────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Channels, height and width of an image in a row. */
function imageOf(shape: readonly number[]): readonly [number, number, number] | undefined {
  const [first = 0, second = 0, third = 0] = shape;
  const side = Math.sqrt(first);
  if (shape.length === 1 && Number.isInteger(side)) return [1, side, side];
  if (shape.length === 2) return [1, first, second];
  return shape.length === 3 && (first === 1 || first === 3) ? [first, second, third] : undefined;
}

async function readImage(like: Column, path: string): Promise<Column> {
  const wanted = imageOf(like.shape);
  if (like.dtype !== 'u8' || like.as !== 'f32' || !wanted) {
    return fail(
      'DATA_OPTION',
      path,
      `the model takes ${like.dtype} ${show(like.shape)}, not the bytes of an image. Say how a row is made, in "read" of the definition.`,
    );
  }
  const [channels, height, width] = wanted;
  const { data, shape } = await readPng(path);
  if (shape[0] !== height || shape[1] !== width) {
    fail('DATA_SHAPE', path, `${shape[1]} × ${shape[0]} pixels; expected ${width} × ${height}. Resize it.`);
  }
  const pixels = Array.from({ length: height * width }, (_, i) =>
    colours(data.subarray(i * shape[2], (i + 1) * shape[2]), channels),
  );
  const planes = Array.from({ length: channels }, (_, c) => pixels.map((pixel) => pixel[c]!));
  return toColumn(like, planes.flat(), like.shape, path);
}

/** A pixel with so many channels, over black. Grey is the luma of ITU-R BT.601. */
function colours(pixel: Uint8Array, channels: number): number[] {
  const hasAlpha = pixel.length % 2 === 0;
  const alpha = hasAlpha ? pixel[pixel.length - 1]! : 255;
  const seen = Array.from(hasAlpha ? pixel.subarray(0, -1) : pixel, (value) => (value * alpha) / 255);
  const [red = 0, green = red, blue = red] = seen;
  if (channels === 3) return [red, green, blue].map(Math.round);
  return [Math.round(seen.length === 1 ? red : (299 * red + 587 * green + 114 * blue) / 1000)];
}

// ─── tables and arrays ───────────────────────────────────────────────────────────────────────────────────────────────

function readCsv(like: Column, path: string): Column {
  const { shape, features } = like;
  const width = shape.at(-1) ?? 1;
  const lines = parseRows({ path });
  const isHead = lines[0]?.cells.some((cell) => !decimal.test(cell)) ?? false;
  const names = isHead ? lines.shift()!.cells : undefined;
  if (lines.length === 0) fail('DATA_EMPTY', path, 'no rows.');
  const columns =
    features && names
      ? features.map((name) => indexOf(path, names, name))
      : Array.from({ length: lines[0]!.cells.length }, (_, i) => i);
  if (columns.length !== width) {
    const wanted = features ? `: ${features.join(', ')}` : '';
    fail('DATA_SHAPE', path, `${columns.length} columns; expected ${width}${wanted}.`);
  }
  const steps = shape.length < 2 ? 1 : rowSize(shape.slice(0, -1));
  if (shape.length >= 2 && lines.length < steps) {
    fail('DATA_SHAPE', path, `${lines.length} lines; expected at least ${steps}, which are one row.`);
  }
  const used = shape.length < 2 ? lines : lines.slice(-steps);
  const shown = names ?? columns.map((i) => String(i + 1));
  const numbers = used.flatMap((row) => columns.map((i) => numberIn(path, row, i, shown, 'Fix the cell.')));
  return toColumn(like, numbers, shape, path);
}

function readArray(like: Column, path: string): Column {
  const { data, shape } = readNpy(path);
  const isRow = show(shape) === show(like.shape);
  if (!isRow && show(shape.slice(1)) !== show(like.shape)) {
    fail('DATA_SHAPE', path, `an array ${show(shape)}; expected [${['rows', ...like.shape].join(', ')}].`);
  }
  if (data.length === 0) fail('DATA_EMPTY', path, 'no rows.');
  return toColumn(like, data, like.shape, path);
}

// ─── text ────────────────────────────────────────────────────────────────────────────────────────────────────────────

function readText(like: Column, text: string, name: string): Column {
  const { shape, labels, classes } = like;
  const isCharacters = labels?.every((label) => [...label].length === 1);
  const takesText = like.as === 'i32' && shape.length === 1 && (labels ? isCharacters : classes === 256);
  if (!takesText) {
    const kind =
      like.as === 'i32' ? `${labels?.length ?? classes ?? 'some'} tokens without characters` : 'numbers';
    return fail(
      'DATA_OPTION',
      name,
      `the model takes ${kind}, not text. Give "labels" to windows(), or say how a row is made, in "read" of the definition.`,
    );
  }
  const tokenOf = new Map(labels?.map((label, token) => [label, token]));
  const tokens = labels
    ? Array.from(text, (character) => {
        const token = tokenOf.get(character);
        if (token !== undefined) return token;
        return fail(
          'DATA_VALUE',
          name,
          `${JSON.stringify(character)} is not among the ${labels.length} characters that it was trained on.`,
        );
      })
    : [...new TextEncoder().encode(text)];
  if (tokens.length === 0) fail('DATA_EMPTY', name, 'an empty text; expected at least one character.');
  const last = tokens.slice(-shape[0]!);
  return toColumn(like, last, [last.length], name);
}
