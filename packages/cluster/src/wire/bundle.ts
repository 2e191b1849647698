/**
 * All that a node has to know of a run, apart from data and weights, as bytes: the programs of every unit that it can be
 * given, and how batches follow from the seed. Plain data; nothing of the user's code.
 */

import type { SamplerOptions } from '@lockstep/data';
import {
  deserializeProgram,
  ELEMENT_BYTES,
  type Program,
  serializeProgram,
  splitProducts,
} from '@lockstep/kernels';
import { BUCKET_FLOATS, batchShards, evenRanges, treeNodes } from '@lockstep/sync';
import {
  checkIndexes,
  checkRegions,
  compileUnit,
  countSums,
  type Prepared,
  type ResolvedDefinition,
  traceStep,
} from '@lockstep/trainer';
import { z } from 'zod';
import type { Sizes } from './vectors.ts';

/** The program of a unit: `segments` shards of `rows` rows each. */
export interface UnitProgram {
  readonly rows: number;
  readonly segments: number;
  readonly program: Program;
  /** Content of its region `constants`. */
  readonly constants: Uint8Array;
}

export interface Bundle {
  readonly sampler: Required<SamplerOptions>;
  readonly shards: number;
  readonly sizes: Sizes;
  readonly programs: readonly UnitProgram[];
}

const BUCKET_BYTES = BUCKET_FLOATS * ELEMENT_BYTES;

/**
 * A weight's gradient is computed in pieces of four buckets, so that the first are on their way before the last are there; a
 * linear layer in pieces of two buckets of its weight, so that it is nearly done when the last of them comes.
 */
const inPieces = (program: Program): Program =>
  splitProducts(splitProducts(program, { region: 'gradient', access: 'write', bytes: 4 * BUCKET_BYTES }), {
    region: 'weights',
    access: 'read',
    bytes: 2 * BUCKET_BYTES,
  });

/** Rows of the batches that a run can meet in training. */
export function batchSizes(length: number, batch: number, dropLast: boolean): number[] {
  const last = length % batch;
  return [...(length >= batch ? [batch] : []), ...(!dropLast && last > 0 ? [last] : [])];
}

/** Compiles what nodes can be asked for. Throws as `traceStep` and the compiler do. */
export function makeBundle<M, F extends string>({ definition, model, layout, data }: Prepared<M, F>): Bundle {
  const { batch, seed, shuffle, dropLast, shards } = definition;
  const programs: UnitProgram[] = [];
  for (const { rows, segments } of unitShapes(definition, data.length)) {
    const step = traceStep(definition, model, layout, data, rows, true);
    const indexes = 2 * data.length;
    const compiled = compileUnit(step, layout, { part: data, indexes }, rows, segments, undefined);
    checkIndexes(compiled.indexLimits, data);
    programs.push({ rows, segments, program: inPieces(compiled.program), constants: compiled.constants });
  }
  return {
    sampler: { length: data.length, batch, seed, shuffle, dropLast },
    shards,
    sizes: {
      weights: layout.size,
      buffers: layout.bufferSize,
      trained: layout.trainedSize,
      values: countSums(definition.metrics),
    },
    programs,
  };
}

/** Each once: the nodes of the shard trees that have rows of one number only. */
function unitShapes<M, F extends string>(
  { batch, shards, dropLast }: Pick<ResolvedDefinition<M, F>, 'batch' | 'shards' | 'dropLast'>,
  length: number,
): { rows: number; segments: number }[] {
  const shapes = new Map<string, { rows: number; segments: number }>();
  const need = (rows: number, segments: number) => shapes.set(`${rows} ${segments}`, { rows, segments });
  for (const size of batchSizes(length, batch, dropLast)) {
    const cut = batchShards(size, shards);
    for (const node of treeNodes(cut.used)) {
      const [first, ...rest] = evenRanges(cut, node);
      if (rest.length === 0) need(first!.rows, node.hi - node.lo);
    }
  }
  return [...shapes.values()];
}

/** How they begin. */
export const BUNDLE_MAGIC = 'LSB2';
const PREFIX_BYTES = 8;
const padded = (bytes: number): number => Math.ceil(bytes / 8) * 8;

const count = z
  .int()
  .min(0)
  .max(2 ** 31 - 1);
const positive = z
  .int()
  .min(1)
  .max(2 ** 31 - 1);
const header = z.strictObject({
  sampler: z.strictObject({
    length: positive,
    batch: positive,
    seed: z.int().min(0),
    shuffle: z.boolean(),
    dropLast: z.boolean(),
  }),
  shards: z.int().min(1).max(65_535),
  sizes: z.strictObject({ weights: positive, buffers: count, trained: positive, values: positive }),
  /** Bytes of each program and of its constants; they follow each other, padded. */
  programs: z
    .array(z.strictObject({ rows: positive, segments: positive, bytes: positive, constants: count }))
    .min(1)
    .max(4096),
});

/** The same bytes for the same bundle: their hash names it. */
export function encodeBundle({ sampler, shards, sizes, programs }: Bundle): Uint8Array {
  const codes = programs.map(({ program }) => serializeProgram(program));
  const { length, batch, seed, shuffle, dropLast } = sampler;
  const head = new TextEncoder().encode(
    JSON.stringify({
      sampler: { length, batch, seed, shuffle, dropLast },
      shards,
      sizes,
      programs: programs.map(({ rows, segments, constants }, i) => ({
        rows,
        segments,
        bytes: codes[i]!.length,
        constants: constants.length,
      })),
    }),
  );
  const parts = [head, ...programs.flatMap(({ constants }, i) => [codes[i]!, constants])];
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + padded(part.length), PREFIX_BYTES));
  bytes.set(new TextEncoder().encode(BUNDLE_MAGIC));
  new DataView(bytes.buffer).setUint32(4, head.length, true);
  let at = PREFIX_BYTES;
  for (const part of parts) {
    bytes.set(part, at);
    at += padded(part.length);
  }
  return bytes;
}

/**
 * Reads and validates a bundle: programs touch nothing outside of their regions, and write to none but a unit's own. Throws an Error that says what is
 * wrong.
 */
export function decodeBundle(bytes: Uint8Array): Bundle {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const refuse = (why: string): never => {
    throw new Error(`program bundle: ${why}`);
  };
  if (bytes.length < PREFIX_BYTES || new TextDecoder().decode(bytes.subarray(0, 4)) !== BUNDLE_MAGIC) {
    return refuse('these bytes are not a valid bundle');
  }
  let at = PREFIX_BYTES;
  const take = (length: number): Uint8Array => {
    if (at + length > bytes.length) return refuse('it is cut off');
    const part = bytes.subarray(at, at + length);
    at += padded(length);
    return part;
  };
  const text = new TextDecoder().decode(take(view.getUint32(4, true)));
  const parsed = header.safeParse(parseJson(text));
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    return refuse(`${issue?.path.join('.') || 'its header'}: ${issue?.message}`);
  }
  const { programs, ...rest } = parsed.data;
  return {
    ...rest,
    programs: programs.map(({ rows, segments, bytes: length, constants }) => ({
      rows,
      segments,
      program: readProgram(take(length)),
      constants: take(constants),
    })),
  };
}

/** Validated: whatever the bytes are, what runs stays in its regions. */
function readProgram(bytes: Uint8Array): Program {
  try {
    const program = deserializeProgram(bytes);
    checkRegions(program, 'wire');
    return program;
  } catch (error) {
    throw new Error(`program bundle: ${error instanceof Error ? error.message : String(error)}`);
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
