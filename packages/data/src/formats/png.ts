import type { DecodedPng } from 'fast-png';
import { DataError } from '../common/errors.ts';
import { readBytes, writeWhole } from '../common/files.ts';
import type { NdArray } from '../dataset/arrays.ts';

/** Pixels from 0 to 255, row after row: [height, width, channels]. */
export interface Image {
  readonly data: Uint8Array;
  readonly shape: readonly [height: number, width: number, channels: number];
}

/** Loaded on first use: most runs read no images. */
const library = () => import('fast-png');

/**
 * The pixels of a PNG file: 1 channel (grey), 2 (grey, alpha), 3 (red, green, blue) or 4 (with alpha). 16 bits are rounded
 * to 8, palettes and fewer bits become 8.
 *
 * @param source A path, or the bytes of such a file.
 * @throws DataError for a file that is not there, of another format, or damaged.
 */
export async function readPng(source: string | Uint8Array): Promise<Image> {
  const name = typeof source === 'string' ? source : 'the given bytes';
  const bytes = typeof source === 'string' ? readBytes('readPng', source) : source;
  const { decode, convertIndexedToRgb, hasPngSignature } = await library();
  if (bytes.length < 8 || !hasPngSignature(bytes)) {
    throw new DataError('DATA_FORMAT', `readPng: ${name} is not a PNG file. Convert it to PNG.`);
  }
  try {
    const png = decode(bytes, { checkCrc: true });
    const { width, height, palette } = png;
    if (palette) {
      return { data: convertIndexedToRgb(png), shape: [height, width, palette[0]!.length] };
    }
    return { data: toBytes(png), shape: [height, width, png.channels] };
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new DataError('DATA_CORRUPT', `readPng: ${name} cannot be decoded (${reason}). Save it again.`, {
      cause: error,
    });
  }
}

/** Samples of any depth as bytes. */
function toBytes({ data, depth, width, height, channels }: DecodedPng): Uint8Array {
  if (depth === 16) return Uint8Array.from(data, (value) => Math.round(value / 257));
  const line = Math.ceil((width * channels * depth) / 8);
  if (data.length !== line * height)
    throw new Error(`${data.length} bytes of pixels, expected ${line * height}`);
  if (depth === 8) return Uint8Array.from(data);
  const most = 2 ** depth - 1;
  return Uint8Array.from({ length: width * height }, (_, i) => {
    const bit = (i % width) * depth;
    const byte = data[Math.floor(i / width) * line + (bit >> 3)]!;
    return (((byte >> (8 - depth - (bit & 7))) & most) * 255) / most;
  });
}

/**
 * Writes pixels to a PNG file: whole or not at all. `image` has the shape [height, width] (grey) or [height, width, channels]
 * with 1 to 4 channels; a Uint8Array as it is, floats from 0 to 1 (what lies beyond is cut).
 *
 * @throws DataError where shape and data do not fit, or the file cannot be written.
 */
export async function writePng(path: string, { data, shape }: NdArray): Promise<void> {
  const [height = 0, width = 0, channels = 1] = shape;
  const fits = shape.length === 2 || (shape.length === 3 && channels >= 1 && channels <= 4);
  if (!fits || data.length !== height * width * channels || data.length === 0) {
    throw new DataError(
      'DATA_SHAPE',
      `writePng: ${path}: ${data.length} numbers of shape [${shape}]; expected [height, width] or [height, width, channels].`,
    );
  }
  const pixels =
    data instanceof Uint8Array
      ? data
      : Uint8Array.from(data, (value: number) => Math.round(255 * Math.min(1, Math.max(0, value))));
  const { encode } = await library();
  writeWhole('writePng', path, [encode({ width, height, channels, data: pixels, depth: 8 })]);
}
