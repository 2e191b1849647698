/** What instructions do, to be set against what a machine can do. */

import { recurrentParts } from '../instructions/fused.ts';
import {
  ELEMENTWISE,
  type Fields,
  type InstructionName,
  instructions,
  sourceKinds,
} from '../instructions/instructions.ts';
import { ELEMENT_BYTES } from '../instructions/program.ts';
import { decodeValues, instructionExtents } from './extents.ts';

export interface Work {
  readonly name: string;
  /** Multiplications and additions of products, convolutions, attention and recurrence; 0 for what memory limits. */
  readonly flops: number;
  /** Bytes of all operands, each read or written once; of a table that is picked from, what is picked. */
  readonly bytes: number;
}

type Numbers = Readonly<Record<string, number>>;

const convolution = (v: Numbers): number =>
  (2 * v.rows! * v.o! * v.oh! * v.ow! * v.c! * v.kh! * v.kw!) / v.groups!;
/** Pairs of a query and a key that it may look at, times the width of a head. */
const attention = (v: Numbers): number =>
  v.batch! * v.heads! * v.queries! * (v.causal ? (v.keys! + 1) / 2 : v.keys!) * v.d!;
const gates = Object.values(recurrentParts).map((parts) => parts.gates);
const recurrence = (v: Numbers): number => 2 * v.rows! * v.steps! * gates[v.kind!]! * v.hidden! ** 2;

const flopsOf: { readonly [N in InstructionName]?: (fields: Numbers) => number } = {
  matmul: (v) => 2 * v.m! * v.n! * v.k! * v.batch0! * v.batch1! * v.segments!,
  conv2d: convolution,
  conv2dInputGrad: convolution,
  conv2dWeightGrad: (v) => convolution(v) * v.segments!,
  // Scores and their sums of values; back: the scores again, and gradients of weights, queries, keys and values.
  attention: (v) => 4 * attention(v),
  attentionGrad: (v) => 10 * attention(v),
  recurrent: recurrence,
  recurrentGrad: recurrence,
};

/** Bytes read from a table or an index by instructions that look at a part of them. */
const pickedBytes: { readonly [N in InstructionName]?: (fields: Numbers) => number } = {
  gatherRows: (v) =>
    v.rows! * v.width! * (v.kind! >= sourceKinds.u8ToI32 ? 1 : ELEMENT_BYTES) + v.rows! * ELEMENT_BYTES,
  take: (v) => v.segments! * v.outer! * v.count! * v.inner! * ELEMENT_BYTES,
};

/** What the instruction at a word position does. Throws an Error where there is none. */
export const instructionWork = (words: Int32Array, at: number): Work => {
  const { name, extents } = instructionExtents(words, at);
  const operands = extents.filter(({ what }) => what !== 'scratch');
  const bytes = (access?: 'write'): number =>
    operands.reduce((sum, each) => sum + (access && each.access !== access ? 0 : each.bytes), 0);
  if (words[at] === ELEMENTWISE) return { name, flops: 0, bytes: bytes() };
  const known = name as InstructionName;
  const fields: Fields = instructions[known].fields;
  const values = decodeValues(fields, words, at) as unknown as Numbers;
  const picked = pickedBytes[known]?.(values);
  return {
    name,
    flops: flopsOf[known]?.(values) ?? 0,
    bytes: picked === undefined ? bytes() : bytes('write') + picked,
  };
};
