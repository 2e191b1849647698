/** The naive twins of all instructions but the elementwise chain. */
import {
  type Fields,
  guardKinds,
  type InstructionName,
  type InstructionValues,
  instructions,
  reduceKinds,
  softmaxKinds,
  sourceKinds,
} from '../instructions/instructions.ts';
import { type Address, ELEMENT_BYTES } from '../instructions/program.ts';
import { fieldValue } from '../instructions/words.ts';
import { convolutions } from './convolution.ts';
import { fused } from './fused.ts';
import { indexing } from './indexing.ts';
import { forEach, type Machine, reduceLanes, tree } from './machine.ts';

type Kernels = { readonly [N in InstructionName]: (machine: Machine, values: InstructionValues<N>) => void };

const names = new Map(Object.entries(instructions).map(([name, { code }]) => [code as number, name]));

export function runInstruction(machine: Machine, words: Int32Array): void {
  const name = names.get(words[0]!) as InstructionName | undefined;
  if (!name) throw new Error(`runReference: unknown opcode ${words[0]}`);
  const run = kernels[name] as (machine: Machine, values: Record<string, number | Address>) => void;
  run(machine, decode(instructions[name].fields, words));
}

function decode(fields: Fields, words: Int32Array): Record<string, number | Address> {
  let at = 2;
  const values: Record<string, number | Address> = {};
  for (const [field, type] of Object.entries(fields)) {
    if (type === 'addr') values[field] = { region: words[at++]!, offset: words[at++]! };
    else values[field] = fieldValue(type, words[at++]!);
  }
  return values;
}

const kernels: Kernels = {
  ...indexing,
  ...convolutions,
  ...fused,
  matmul: (machine, v) => {
    const [a, b, c] = [machine.at(v.a), machine.at(v.b), machine.at(v.c)];
    const [stepAm, stepAk] = v.transA ? [1, v.lda] : [v.lda, 1];
    const [stepBk, stepBn] = v.transB ? [1, v.ldb] : [v.ldb, 1];
    forEach([v.batch0, v.batch1, v.m, v.n], ([b0, b1, m, n]) => {
      const atA = b0 * v.strideA0 + b1 * v.strideA1 + m * stepAm;
      const atB = b0 * v.strideB0 + b1 * v.strideB1 + n * stepBn;
      const dot = (segment: number): number => {
        let sum = 0;
        for (let k = 0; k < v.k; k++) {
          const x = a[atA + segment * v.segmentA + k * stepAk]!;
          const y = b[atB + segment * v.segmentB + k * stepBk]!;
          sum = machine.add(sum, machine.mul(x, y));
        }
        return sum;
      };
      c[b0 * v.strideC0 + b1 * v.strideC1 + m * v.ldc + n] = tree(0, v.segments, dot, machine.add);
    });
  },
  reduce: (machine, v) => {
    const [out, input] = [machine.at(v.out), machine.at(v.in)];
    forEach([v.outer, v.inner], ([o, i]) => {
      const values = Array.from({ length: v.n }, (_, n) => input[(o * v.n + n) * v.inner + i]!);
      out[o * v.inner + i] = reduceOne(machine, v.kind, v.inner === 1, values);
    });
  },
  treeSum: (machine, v) => {
    const [out, input] = [machine.at(v.out), machine.at(v.in)];
    forEach([v.n], ([i]) => {
      out[i] = tree(0, v.segments, (s) => input[s * v.n + i]!, machine.add);
    });
  },
  gatherRows: (machine, v) => {
    const bytes = v.kind === sourceKinds.u8ToI32 || v.kind === sourceKinds.u8ToF32 ? 1 : ELEMENT_BYTES;
    const [out, data, index] = [machine.at(v.out), machine.at(v.data, bytes), machine.at(v.index)];
    const start = machine.at(v.record)[3]! + machine.at(v.unit)[1]!;
    forEach([v.rows, v.width], ([r, c]) => {
      const picked = start + r < v.indexCount ? index[start + r]! : 0;
      const row = picked >= 0 && picked < v.dataRows ? picked : 0;
      const x = data[row * v.stride + c]!;
      out[r * v.width + c] =
        v.kind === sourceKinds.u8ToF32 ? machine.add(machine.mul(x, v.scale), v.shift) : x;
    });
  },
  random: (machine, v) => {
    const [out, record, unit] = [machine.at(v.out), machine.at(v.record), machine.at(v.unit)];
    forEach([v.segments, Math.ceil(v.n / 4)], ([segment, block]) => {
      const counter = [block, v.stream, record[2]!, unit[0]! + segment];
      const words = philox(counter, [record[0]!, record[1]!]);
      for (let lane = 0; lane < 4 && 4 * block + lane < v.n; lane++) {
        out[segment * v.n + 4 * block + lane] = (words[lane]! >>> 8) / 2 ** 24;
      }
    });
  },
  softmax: (machine, v) => {
    const [out, input] = [machine.at(v.out), machine.at(v.in)];
    forEach([v.rows], ([r]) => {
      const row = input.subarray(r * v.n, (r + 1) * v.n);
      const { max, shifted, exps, sum, logSum } = softmaxRow(machine, row);
      if (v.kind === softmaxKinds.logSumExp) {
        out[r] = Number.isFinite(max) ? machine.add(max, logSum) : max;
        return;
      }
      row.forEach((_, c) => {
        const value = v.kind === softmaxKinds.softmax ? exps[c]! / sum : shifted[c]! - logSum;
        out[r * v.n + c] = machine.round(value);
      });
    });
  },
  crossEntropy: (machine, v) => {
    const [out, logits, labels] = [machine.at(v.out), machine.at(v.logits), machine.at(v.labels)];
    forEach([v.rows], ([r]) => {
      const { shifted, logSum } = softmaxRow(machine, logits.subarray(r * v.n, (r + 1) * v.n));
      // A label out of range reads undefined, which gives NaN.
      out[r] = machine.round(logSum - shifted[labels[r]!]!);
    });
  },
  crossEntropyGrad: (machine, v) => {
    const [out, logits] = [machine.at(v.out), machine.at(v.logits)];
    const [labels, grad] = [machine.at(v.labels), machine.at(v.grad)];
    forEach([v.rows], ([r]) => {
      const { exps, sum } = softmaxRow(machine, logits.subarray(r * v.n, (r + 1) * v.n));
      const label = labels[r]!;
      const g = label >= 0 && label < v.n ? grad[r]! : Number.NaN;
      exps.forEach((e, c) => {
        const hit = c === label ? 1 : 0;
        out[r * v.n + c] = machine.mul(machine.round(machine.round(e / sum) - hit), g);
      });
    });
  },
  sumOfSquares: (machine, v) => {
    const [out, input] = [machine.at(v.out), machine.at(v.in)];
    forEach([Math.ceil(v.n / v.block)], ([block]) => {
      const squares = input
        .slice(block * v.block, Math.min((block + 1) * v.block, v.n))
        .map((x) => machine.mul(x, x));
      out[block] = reduceLanes(squares, 0, machine.add);
    });
  },
  // The reference runs single steps that may give what they like.
  guard: (machine, v) => {
    const [halt, values] = [machine.at(v.halt), machine.at(v.values)];
    const tick = machine.at(v.tick)[0]!;
    const finite = v.kind === guardKinds.finite;
    forEach([v.count], ([i]) => {
      const value = values[i * v.stride]!;
      const bad = finite ? !Number.isFinite(value) : value !== 0;
      if (bad && halt[0] === 0) halt[0] = finite ? tick : tick - 1;
    });
    machine.halted = halt[0] !== 0;
  },
};

function reduceOne({ add, mul }: Machine, kind: number, lanes: boolean, values: readonly number[]): number {
  if (kind === reduceKinds.sum) return lanes ? reduceLanes(values, 0, add) : values.reduce(add, 0);
  if (kind === reduceKinds.prod) return lanes ? reduceLanes(values, 1, mul) : values.reduce(mul, 1);
  if (values.length === 0) return 0;
  const sign = kind === reduceKinds.max || kind === reduceKinds.argmax ? 1 : -1;
  const nan = values.findIndex(Number.isNaN);
  const first =
    nan >= 0 ? nan : values.indexOf(sign * values.reduce((a, b) => Math.max(a, sign * b), -Infinity));
  return kind === reduceKinds.argmax || kind === reduceKinds.argmin ? first : values[first]!;
}

/** x − max, its exponentials, their sum and its logarithm. */
function softmaxRow(machine: Machine, row: Float64Array) {
  const max = row.reduce((a, b) => (a > b || Number.isNaN(a) ? a : b), -Infinity);
  const shifted = row.map((x) => machine.round(x - max));
  const exps = shifted.map((x) => machine.round(Math.exp(x)));
  const sum = reduceLanes(exps, 0, machine.add);
  return { max, shifted, exps, sum, logSum: machine.round(Math.log(sum)) };
}

/** Philox4x32-10 (Salmon et al., 2011), by big integers. */
function philox(counter: readonly number[], key: readonly number[]): number[] {
  let [c0, c1, c2, c3] = counter.map(BigInt) as [bigint, bigint, bigint, bigint];
  let [k0, k1] = key.map(BigInt) as [bigint, bigint];
  const mask = 0xffffffffn;
  for (let round = 0; round < 10; round++) {
    const p0 = c0 * 0xd2511f53n;
    const p1 = c2 * 0xcd9e8d57n;
    [c0, c1, c2, c3] = [(p1 >> 32n) ^ c1 ^ k0, p1 & mask, (p0 >> 32n) ^ c3 ^ k1, p0 & mask];
    k0 = (k0 + 0x9e3779b9n) & mask;
    k1 = (k1 + 0xbb67ae85n) & mask;
  }
  return [c0, c1, c2, c3].map(Number);
}
