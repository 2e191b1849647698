/** The naive twins of the instructions that move elements. */
import type { indexing as instructions } from '../instructions/indexing.ts';
import type { Values } from '../instructions/instruction.ts';
import { forEach, type Machine, tree } from './machine.ts';

type Name = keyof typeof instructions;
type Operands<N extends Name> = Values<(typeof instructions)[N]['fields']>;

/** Whether a picked row exists; reading past the end gives NaN. */
const inside = (at: number, n: number): boolean => at >= 0 && at < n;

export const indexing: { readonly [N in Name]: (machine: Machine, values: Operands<N>) => void } = {
  copy: (machine, v) => {
    const out = machine.at(v.out);
    const sizes = [v.n0, v.n1, v.n2, v.n3, v.n4, v.n5, v.n6, v.n7] as const;
    const outs = [v.outStride0, v.outStride1, v.outStride2, v.outStride3] as number[];
    outs.push(v.outStride4, v.outStride5, v.outStride6, v.outStride7);
    const ins = [v.inStride0, v.inStride1, v.inStride2, v.inStride3] as number[];
    ins.push(v.inStride4, v.inStride5, v.inStride6, v.inStride7);
    const dot = (index: readonly number[], strides: readonly number[]): number =>
      index.reduce((sum, i, d) => sum + i * strides[d]!, 0);
    // From the start of the region, because strides may be negative.
    const first = v.in.offset / 4;
    const input = machine.at({ region: v.in.region, offset: 0 });
    forEach(sizes, (index) => {
      out[dot(index, outs)] = input[first + dot(index, ins)]!;
    });
  },
  take: (machine, v) => {
    const [out, input, index] = [machine.at(v.out), machine.at(v.in), machine.at(v.index)];
    forEach([v.segments, v.outer, v.count, v.inner], ([s, o, j, i]) => {
      const at = index[s * v.segmentIndex + j]!;
      out[((s * v.outer + o) * v.count + j) * v.inner + i] = inside(at, v.n)
        ? input[s * v.segmentIn + (o * v.n + at) * v.inner + i]!
        : Number.NaN;
    });
  },
  scatterAdd: (machine, v) => {
    const [out, input, index] = [machine.at(v.out), machine.at(v.in), machine.at(v.index)];
    const sum = (s: number, o: number, row: number, i: number): number => {
      let total = 0;
      for (let j = 0; j < v.count; j++) {
        if (index[s * v.segmentIndex + j] !== row) continue;
        total = machine.add(total, input[s * v.segmentIn + (o * v.count + j) * v.inner + i]!);
      }
      return total;
    };
    forEach([v.tree ? 1 : v.segments, v.outer, v.n, v.inner], ([s, o, row, i]) => {
      out[((s * v.outer + o) * v.n + row) * v.inner + i] = v.tree
        ? tree(0, v.segments, (segment) => sum(segment, o, row, i), machine.add)
        : sum(s, o, row, i);
    });
  },
  gather: (machine, v) => {
    const [out, input, index] = [machine.at(v.out), machine.at(v.in), machine.at(v.index)];
    forEach([v.segments, v.outer, v.count, v.inner], ([s, o, j, i]) => {
      const at = index[s * v.segmentIndex + (o * v.count + j) * v.inner + i]!;
      out[((s * v.outer + o) * v.count + j) * v.inner + i] = inside(at, v.n)
        ? input[s * v.segmentIn + (o * v.n + at) * v.inner + i]!
        : Number.NaN;
    });
  },
  gatherAdd: (machine, v) => {
    const [out, input, index] = [machine.at(v.out), machine.at(v.in), machine.at(v.index)];
    out.fill(0, 0, v.segments * v.outer * v.n * v.inner);
    forEach([v.segments, v.outer, v.count, v.inner], ([s, o, j, i]) => {
      const from = (o * v.count + j) * v.inner + i;
      const at = index[s * v.segmentIndex + from]!;
      if (!inside(at, v.n)) return;
      const to = ((s * v.outer + o) * v.n + at) * v.inner + i;
      out[to] = machine.add(out[to]!, input[s * v.segmentIn + from]!);
    });
  },
  cumsum: (machine, v) => {
    const [out, input] = [machine.at(v.out), machine.at(v.in)];
    forEach([v.outer, v.inner], ([o, i]) => {
      let total = 0;
      for (let step = 0; step < v.n; step++) {
        const at = (o * v.n + (v.reverse ? v.n - 1 - step : step)) * v.inner + i;
        total = machine.add(total, input[at]!);
        out[at] = total;
      }
    });
  },
  argsort: (machine, v) => {
    const [out, input] = [machine.at(v.out), machine.at(v.in)];
    const key = (x: number): number => (Number.isNaN(x) ? Infinity : x);
    forEach([v.rows], ([r]) => {
      const row = input.subarray(r * v.n, (r + 1) * v.n);
      const compare = (i: number, j: number): number => {
        const [x, y] = [row[i]!, row[j]!];
        if (Number.isNaN(x) !== Number.isNaN(y)) return Number.isNaN(x) ? 1 : -1;
        return key(x) === key(y) ? 0 : key(x) - key(y);
      };
      const sign = v.descending ? -1 : 1;
      out.set(
        Array.from(row.keys()).sort((i, j) => sign * compare(i, j) || i - j),
        r * v.n,
      );
    });
  },
};
