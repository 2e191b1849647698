/**
 * A program as bytes: 'LSP1', the byte length of a JSON header, the header (regions, labels, cuts), padding to 4 bytes, the
 * code. All little-endian.
 */

import type { Program, Region } from '../instructions/program.ts';
import { instructionExtents } from './extents.ts';
import { validateProgram } from './validate.ts';

const MAGIC = 0x3150534c; // 'LSP1'
const PREFIX_BYTES = 8;
const padded = (bytes: number): number => Math.ceil(bytes / 4) * 4;

/** The bytes of a program. */
export const serializeProgram = ({ regions, labels, cuts, code }: Program): Uint8Array => {
  const header = new TextEncoder().encode(JSON.stringify({ regions, labels, cuts }));
  const codeAt = PREFIX_BYTES + padded(header.length);
  const bytes = new Uint8Array(codeAt + code.length * 4);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, MAGIC, true);
  view.setUint32(4, header.length, true);
  bytes.set(header, PREFIX_BYTES);
  code.forEach((word, i) => void view.setInt32(codeAt + 4 * i, word, true));
  return bytes;
};

const isRegion = (value: unknown): value is Region => {
  const { name, bytes, access } = (value ?? {}) as Partial<Record<keyof Region, unknown>>;
  return typeof name === 'string' && typeof bytes === 'number' && typeof access === 'string';
};

const readHeader = (bytes: Uint8Array): Pick<Program, 'regions' | 'labels' | 'cuts'> => {
  const { regions, labels, cuts } = JSON.parse(new TextDecoder().decode(bytes)) as Record<string, unknown>;
  const isList = <T>(value: unknown, isItem: (item: unknown) => item is T): value is T[] =>
    Array.isArray(value) && value.every(isItem);
  const isText = (item: unknown): item is string => typeof item === 'string';
  const isNumber = (item: unknown): item is number => typeof item === 'number';
  if (!isList(regions, isRegion) || !isList(labels, isText) || !isList(cuts, isNumber)) {
    throw new Error('expected lists of regions, labels and cuts');
  }
  return { regions, labels, cuts };
};

/** The program in these bytes, validated. Throws an Error with the reason if they are none, or not a safe one. */
export const deserializeProgram = (bytes: Uint8Array): Program => {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < PREFIX_BYTES || view.getUint32(0, true) !== MAGIC) {
    throw new Error('program: these bytes are not a program (no LSP1 at the start)');
  }
  const headerBytes = view.getUint32(4, true);
  const codeAt = PREFIX_BYTES + padded(headerBytes);
  if (codeAt > bytes.length || (bytes.length - codeAt) % 4 !== 0) {
    throw new Error(`program: truncated: ${bytes.length} bytes with a header of ${headerBytes}`);
  }
  let header: ReturnType<typeof readHeader>;
  try {
    header = readHeader(bytes.subarray(PREFIX_BYTES, PREFIX_BYTES + headerBytes));
  } catch (error) {
    throw new Error(`program: broken header: ${error instanceof Error ? error.message : String(error)}`);
  }
  const code = Int32Array.from({ length: (bytes.length - codeAt) / 4 }, (_, i) =>
    view.getInt32(codeAt + 4 * i, true),
  );
  const starts: number[] = [];
  for (let at = 0; at < code.length; at += instructionExtents(code, at).words) starts.push(at);
  const program: Program = { version: 1, ...header, code, starts };
  validateProgram(program);
  return program;
};
