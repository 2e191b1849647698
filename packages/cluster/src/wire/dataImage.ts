/** The training part of a data set as bytes: what nodes are sent, keep on their disks, and put into memory as it is. */
import type { Column, Dataset } from '@lockstep/data';
import { z } from 'zod';

/** A column's numbers, in the region `data NAME` of programs. */
export interface DataColumn {
  readonly name: string;
  readonly bytes: Uint8Array;
}

/** How they begin. */
export const DATA_MAGIC = 'LSD1';
const PREFIX_BYTES = 8;
/** Columns begin on cache lines. */
const padded = (bytes: number): number => Math.ceil(bytes / 64) * 64;

const header = z.strictObject({
  columns: z
    .array(
      z.strictObject({
        name: z.string().min(1).max(256),
        bytes: z
          .int()
          .min(0)
          .max(2 ** 34),
      }),
    )
    .max(4096),
});

/** Views of the columns, in order of their names. */
export function columnsOf(data: Dataset): DataColumn[] {
  const names = Object.keys(data.columns).sort();
  return names.map((name) => {
    const { data: values } = data.columns[name] as Column;
    return { name, bytes: new Uint8Array(values.buffer, values.byteOffset, values.byteLength) };
  });
}

/** The same bytes for the same columns: their hash names them. Pieces, of which most are the columns themselves. */
export function encodeData(columns: readonly DataColumn[]): Uint8Array[] {
  const head = new TextEncoder().encode(
    JSON.stringify({ columns: columns.map(({ name, bytes }) => ({ name, bytes: bytes.length })) }),
  );
  const first = new Uint8Array(padded(PREFIX_BYTES + head.length));
  first.set(new TextEncoder().encode(DATA_MAGIC));
  new DataView(first.buffer).setUint32(4, head.length, true);
  first.set(head, PREFIX_BYTES);
  const rest = ({ length }: Uint8Array): Uint8Array => new Uint8Array(padded(length) - length);
  return [first, ...columns.flatMap(({ bytes }) => [bytes, rest(bytes)])];
}

/** Views of the columns. Throws an Error that says what is wrong. */
export function decodeData(bytes: Uint8Array): DataColumn[] {
  const refuse = (why: string): never => {
    throw new Error(`data: ${why}`);
  };
  if (bytes.length < PREFIX_BYTES || new TextDecoder().decode(bytes.subarray(0, 4)) !== DATA_MAGIC) {
    return refuse('these bytes are not columns');
  }
  const length = new DataView(bytes.buffer, bytes.byteOffset).getUint32(4, true);
  if (PREFIX_BYTES + length > bytes.length) return refuse('they are cut off');
  let parsed: z.infer<typeof header>;
  try {
    const text = new TextDecoder().decode(bytes.subarray(PREFIX_BYTES, PREFIX_BYTES + length));
    parsed = header.parse(JSON.parse(text));
  } catch {
    return refuse('their header is broken');
  }
  let at = padded(PREFIX_BYTES + length);
  return parsed.columns.map(({ name, bytes: size }) => {
    if (at + size > bytes.length) return refuse(`column ${name} is cut off`);
    const column = { name, bytes: bytes.subarray(at, at + size) };
    at += padded(size);
    return column;
  });
}
