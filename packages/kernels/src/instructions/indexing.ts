/**
 * Instructions that move elements: strided copies, picking by index, its adjoint, running sums. They take values of
 * any type (32-bit lanes) but for the sums, which are of f32.
 *
 * `take`, `gather` and their adjoints see a tensor as [segments, outer, n, inner] and index its axis n. A stride of
 * 0 between segments repeats an operand that is alike in all shards. An index out of [0, n) reads as a NaN and is
 * skipped by the sums; memory stays safe.
 */
import { define, elements, fields, indexes, oneOf, scratchOf, segmentCount, span } from './instruction.ts';
import { type Address, ELEMENT_BYTES } from './program.ts';

/** Dimensions of `copy`. */
export const COPY_RANK = 8;

/** Scratch for `scatterAdd` with `tree`, in bytes: lists of the positions that add to each row. */
export const scatterAddScratchBytes = (n: number, positions: number): number =>
  (n + positions) * ELEMENT_BYTES;

interface Indexed {
  readonly segments: number;
  readonly outer: number;
  readonly n: number;
  readonly inner: number;
  readonly count: number;
}

/** Elements of `segments` blocks that lie `stride` apart. */
const blocks = (segments: number, stride: number, size: number): number =>
  size === 0 ? 0 : span([segments, stride], [size, 1]);

const shape = { ...fields('u32', 'segments', 'outer', 'n', 'inner', 'count') } as const;
const rowsOf = ({ outer, n, inner }: Indexed): number => outer * n * inner;
const pickedOf = ({ outer, count, inner }: Indexed): number => outer * count * inner;

export const indexing = {
  /**
   * out[Σ i·outStride] = in[Σ i·inStride] for all i below n0 … n7 (unused dimensions have n = 1). Strides of `in` may be
   * negative: its address is that of the element at i = 0. Source and target must not overlap.
   */
  copy: define({
    code: 12,
    fields: {
      ...fields('addr', 'out', 'in'),
      ...fields('u32', 'n0', 'n1', 'n2', 'n3', 'n4', 'n5', 'n6', 'n7'),
      ...fields('u32', 'outStride0', 'outStride1', 'outStride2', 'outStride3'),
      ...fields('u32', 'outStride4', 'outStride5', 'outStride6', 'outStride7'),
      ...fields('i32', 'inStride0', 'inStride1', 'inStride2', 'inStride3'),
      ...fields('i32', 'inStride4', 'inStride5', 'inStride6', 'inStride7'),
    },
    extents: (v) => {
      const sizes = [v.n0, v.n1, v.n2, v.n3, v.n4, v.n5, v.n6, v.n7];
      const outs = [v.outStride0, v.outStride1, v.outStride2, v.outStride3];
      outs.push(v.outStride4, v.outStride5, v.outStride6, v.outStride7);
      const ins = [v.inStride0, v.inStride1, v.inStride2, v.inStride3];
      ins.push(v.inStride4, v.inStride5, v.inStride6, v.inStride7);
      const total = sizes.reduce((product, n) => product * n, 1);
      if (total === 0) return [elements('out', v.out, 0, 'write'), elements('in', v.in, 0)];
      const walks = (strides: readonly number[]) => sizes.map((n, d) => [n, strides[d]!] as const);
      if (total > span(...walks(outs))) throw new Error(`strides of out [${outs}] lead to one element twice`);
      const before = span(...walks(ins.map((stride) => Math.max(0, -stride)))) - 1;
      const after = span(...walks(ins.map((stride) => Math.max(0, stride))));
      const first: Address = { region: v.in.region, offset: v.in.offset - before * ELEMENT_BYTES };
      if (first.offset < 0) {
        throw new Error(`in reaches ${before} elements back from byte ${v.in.offset} of its region`);
      }
      return [elements('out', v.out, span(...walks(outs)), 'write'), elements('in', first, before + after)];
    },
  }),
  /** out[s, o, j, i] = in[s, o, index[s, j], i] for j < count; `segmentIn`, `segmentIndex`: from segment to segment. */
  take: define({
    code: 13,
    fields: {
      ...fields('addr', 'out', 'in', 'index'),
      ...shape,
      ...fields('u32', 'segmentIn', 'segmentIndex'),
    },
    extents: (v) => {
      segmentCount(v.segments);
      return [
        elements('out', v.out, v.segments * pickedOf(v), 'write'),
        elements('in', v.in, blocks(v.segments, v.segmentIn, rowsOf(v))),
        indexes('index', v.index, blocks(v.segments, v.segmentIndex, v.count)),
      ];
    },
  }),
  /**
   * out[s, o, index[s, j], i] = Σ in[s, o, j, i] over those j in order, from +0; the adjoint of `take`. With `tree` the
   * segments are summed, too, by the tree: out[o, n, i], and `scratch` has `scatterAddScratchBytes(n, segments · count)`.
   */
  scatterAdd: define({
    code: 14,
    fields: {
      ...fields('addr', 'out', 'in', 'index', 'scratch'),
      ...shape,
      ...fields('u32', 'segmentIn', 'segmentIndex', 'tree'),
    },
    extents: (v) => {
      oneOf('tree', v.tree, 2);
      segmentCount(v.segments);
      const operands = [
        elements('out', v.out, (v.tree ? 1 : v.segments) * rowsOf(v), 'write'),
        elements('in', v.in, blocks(v.segments, v.segmentIn, pickedOf(v))),
        indexes('index', v.index, blocks(v.segments, v.segmentIndex, v.count)),
      ];
      if (!v.tree) return operands;
      return [...operands, scratchOf(v.scratch, scatterAddScratchBytes(v.n, v.segments * v.count))];
    },
  }),
  /** out[s, o, j, i] = in[s, o, index[s, o, j, i], i]: an index for each element. */
  gather: define({
    code: 15,
    fields: {
      ...fields('addr', 'out', 'in', 'index'),
      ...shape,
      ...fields('u32', 'segmentIn', 'segmentIndex'),
    },
    extents: (v) => {
      segmentCount(v.segments);
      return [
        elements('out', v.out, v.segments * pickedOf(v), 'write'),
        elements('in', v.in, blocks(v.segments, v.segmentIn, rowsOf(v))),
        indexes('index', v.index, blocks(v.segments, v.segmentIndex, pickedOf(v))),
      ];
    },
  }),
  /** out[s, o, index[s, o, j, i], i] = Σ in[s, o, j, i] over those j in order, from +0; the adjoint of `gather`. */
  gatherAdd: define({
    code: 16,
    fields: {
      ...fields('addr', 'out', 'in', 'index'),
      ...shape,
      ...fields('u32', 'segmentIn', 'segmentIndex'),
    },
    extents: (v) => {
      segmentCount(v.segments);
      return [
        elements('out', v.out, v.segments * rowsOf(v), 'write'),
        elements('in', v.in, blocks(v.segments, v.segmentIn, pickedOf(v))),
        indexes('index', v.index, blocks(v.segments, v.segmentIndex, pickedOf(v))),
      ];
    },
  }),
  /** out[o, j, i] = in[o, 0, i] + … + in[o, j, i], in order; with `reverse` from the end: in[o, n − 1, i] + … + in[o, j, i]. */
  cumsum: define({
    code: 17,
    fields: { ...fields('addr', 'out', 'in'), ...fields('u32', 'outer', 'n', 'inner', 'reverse') },
    extents: (v) => {
      oneOf('reverse', v.reverse, 2);
      const count = v.outer * v.n * v.inner;
      return [elements('out', v.out, count, 'write'), elements('in', v.in, count)];
    },
  }),
  /**
   * out[r, :] = the i32 indexes that sort the f32 row in[r, :], ascending or descending; equal elements stay in order, and a
   * NaN counts as the largest. `scratch`: n words.
   */
  argsort: define({
    code: 18,
    fields: { ...fields('addr', 'out', 'in', 'scratch'), ...fields('u32', 'rows', 'n', 'descending') },
    extents: (v) => {
      oneOf('descending', v.descending, 2);
      return [
        elements('out', v.out, v.rows * v.n, 'write'),
        elements('in', v.in, v.rows * v.n),
        scratchOf(v.scratch, v.n * ELEMENT_BYTES),
      ];
    },
  }),
} as const;
