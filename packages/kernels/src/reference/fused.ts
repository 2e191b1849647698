/** The naive twins of the fused layers: their formulas, with sums where they come. */
import { type fused as instructions, normalizeWeightKinds, recurrentParts } from '../instructions/fused.ts';
import type { Values } from '../instructions/instruction.ts';
import { forEach, type Machine, reduceLanes, tree } from './machine.ts';

type Name = keyof typeof instructions;
type Operands<N extends Name> = Values<(typeof instructions)[N]['fields']>;
type Row = Float64Array;

const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i);

/** x̂ and 1 / √(variance + ε) of a row. */
function standardized({ add, mul, round }: Machine, x: Row, center: number, eps: number) {
  const mean = center ? round(reduceLanes(x, 0, add) / x.length) : 0;
  const shifted = x.map((value) => round(value - mean));
  const squares = shifted.map((d) => mul(d, d));
  const variance = round(reduceLanes(squares, 0, add) / x.length);
  const scale = round(1 / round(Math.sqrt(add(variance, eps))));
  return { scale, hat: shifted.map((d) => mul(d, scale)) };
}

/** q, k, v, mask … of one head as functions of row and column. */
function attentionOf(machine: Machine, v: Operands<'attention'>, b: number, h: number) {
  const at = (address: typeof v.q, batch: number, head: number, row: number) => {
    const data = machine.at(address);
    return (i: number, c: number): number => data[b * batch + h * head + i * row + c]!;
  };
  const [q, k] = [at(v.q, v.qBatch, v.qHead, v.qRow), at(v.k, v.kBatch, v.kHead, v.kRow)];
  const mask = v.masked ? at(v.mask, v.maskBatch, v.maskHead, v.maskRow) : () => 0;
  const score = (i: number, j: number): number =>
    v.causal && j > i
      ? -Infinity
      : v.scale * range(v.d).reduce((sum, c) => sum + q(i, c) * k(j, c), 0) + mask(i, j);
  const probabilities = range(v.queries).map((i) => {
    const scores = range(v.keys).map((j) => score(i, j));
    const max = Math.max(...scores, -Infinity);
    const exps = scores.map((s) => (s === -Infinity ? 0 : Math.exp(s - max)));
    const sum = exps.reduce((x, y) => x + y, 0);
    return exps.map((e) => (sum === 0 ? 0 : e / sum));
  });
  return { q, k, v: at(v.v, v.vBatch, v.vHead, v.vRow), probabilities, at };
}

const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));
const kinds = ['tanh', 'relu', 'lstm', 'gru'] as const;

/** Steps in the order in which they run. */
const order = (steps: number, reverse: number): number[] => (reverse ? range(steps).reverse() : range(steps));

export const fused: { readonly [N in Name]: (machine: Machine, values: Operands<N>) => void } = {
  normalize: (machine, v) => {
    const { add, mul } = machine;
    const [out, x, weight, bias] = [v.out, v.x, v.weight, v.bias].map((address) => machine.at(address));
    for (const r of range(v.rows)) {
      const { hat } = standardized(machine, x!.slice(r * v.n, (r + 1) * v.n), v.center, v.eps);
      hat.forEach((value, i) => {
        const scaled = v.weighted ? mul(value, weight![i]!) : value;
        out![r * v.n + i] = v.biased ? add(scaled, bias![i]!) : scaled;
      });
    }
  },
  normalizeGrad: (machine, v) => {
    const { add, mul, round } = machine;
    const [out, x, weight, grad] = [v.out, v.x, v.weight, v.grad].map((address) => machine.at(address));
    for (const r of range(v.rows)) {
      const { hat, scale } = standardized(machine, x!.slice(r * v.n, (r + 1) * v.n), v.center, v.eps);
      const slopes = hat.map((_, i) => {
        const g = grad![r * v.n + i]!;
        return v.weighted ? mul(g, weight![i]!) : g;
      });
      const mean = v.center ? round(reduceLanes(slopes, 0, add) / v.n) : 0;
      const products = slopes.map((s, i) => mul(s, hat[i]!));
      const meanDot = round(reduceLanes(products, 0, add) / v.n);
      slopes.forEach((s, i) => {
        out![r * v.n + i] = mul(round(round(s - mean) - mul(hat[i]!, meanDot)), scale);
      });
    }
  },
  normalizeWeightGrad: (machine, v) => {
    const { add, mul } = machine;
    const [out, x, grad] = [v.out, v.x, v.grad].map((address) => machine.at(address));
    const sums = range(v.segments).map((s) => {
      const sum = new Float64Array(v.n);
      for (const r of range(v.rows)) {
        const at = (s * v.rows + r) * v.n;
        const { hat } = standardized(machine, x!.slice(at, at + v.n), v.center, v.eps);
        hat.forEach((value, i) => {
          const g = grad![at + i]!;
          sum[i] = add(sum[i]!, v.kind === normalizeWeightKinds.weight ? mul(g, value) : g);
        });
      }
      return sum;
    });
    if (!v.tree) {
      sums.forEach((sum, s) => {
        out!.set(sum, s * v.n);
      });
      return;
    }
    for (const i of range(v.n)) out![i] = tree(0, v.segments, (s) => sums[s]![i]!, add);
  },
  attention: (machine, v) => {
    const out = machine.at(v.out);
    forEach([v.batch, v.heads], ([b, h]) => {
      const { v: value, probabilities } = attentionOf(machine, v, b, h);
      forEach([v.queries, v.d], ([i, c]) => {
        const sum = probabilities[i]!.reduce((total, p, j) => total + p * value(j, c), 0);
        out[b * v.outBatch + h * v.outHead + i * v.outRow + c] = machine.round(sum);
      });
    });
  },
  attentionGrad: (machine, v) => {
    const [dq, dk, dv] = [machine.at(v.dq), machine.at(v.dk), machine.at(v.dv)];
    forEach([v.batch, v.heads], ([b, h]) => {
      const { q, k, v: value, probabilities: p, at } = attentionOf(machine, v, b, h);
      const g = at(v.grad, v.gradBatch, v.gradHead, v.gradRow);
      const out = at(v.out, v.outBatch, v.outHead, v.outRow);
      const dot = (length: number, term: (c: number) => number): number =>
        range(length).reduce((sum, c) => sum + term(c), 0);
      const slopes = range(v.queries).map((i) => {
        const delta = dot(v.d, (c) => g(i, c) * out(i, c));
        return range(v.keys).map(
          (j) => p[i]![j]! * (dot(v.d, (c) => g(i, c) * value(j, c)) - delta) * v.scale,
        );
      });
      forEach([v.queries, v.d], ([i, c]) => {
        dq[b * v.dqBatch + h * v.dqHead + i * v.dqRow + c] = machine.round(
          dot(v.keys, (j) => slopes[i]![j]! * k(j, c)),
        );
      });
      forEach([v.keys, v.d], ([j, c]) => {
        dk[b * v.dkBatch + h * v.dkHead + j * v.dkRow + c] = machine.round(
          dot(v.queries, (i) => slopes[i]![j]! * q(i, c)),
        );
        dv[b * v.dvBatch + h * v.dvHead + j * v.dvRow + c] = machine.round(
          dot(v.queries, (i) => p[i]![j]! * g(i, c)),
        );
      });
    });
  },
  recurrent: (machine, v) => {
    const kind = kinds[v.kind]!;
    const n = v.hidden;
    const { gates, states } = recurrentParts[kind];
    const [out, x, w, bias] = [v.out, v.x, v.w, v.bias].map((address) => machine.at(address));
    const [h0, c0] = [machine.at(v.h0), machine.at(v.c0)];
    for (const row of range(v.rows)) {
      let h = range(n).map((i) => (v.initial ? h0[row * n + i]! : 0));
      let c = range(n).map((i) => (v.initial && kind === 'lstm' ? c0[row * n + i]! : 0));
      for (const t of order(v.steps, v.reverse)) {
        const r = range(gates * n).map((i) =>
          h.reduce((sum, value, j) => sum + value * w![i * n + j]!, v.biased ? bias![i]! : 0),
        );
        const input = (gate: number, i: number): number => x![((row * v.steps + t) * gates + gate) * n + i]!;
        const sum = (gate: number, i: number): number => input(gate, i) + r[gate * n + i]!;
        const kept = range(n).map((i): number[] => {
          if (kind === 'lstm') {
            const [input, forget, output] = [0, 1, 3].map((gate) => sigmoid(sum(gate, i)));
            const g = Math.tanh(sum(2, i));
            const cell = forget! * c[i]! + input! * g;
            return [output! * Math.tanh(cell), cell, input!, forget!, g, output!];
          }
          if (kind === 'gru') {
            const [reset, z] = [sigmoid(sum(0, i)), sigmoid(sum(1, i))];
            const inner = r[2 * n + i]!;
            const candidate = Math.tanh(input(2, i) + reset * inner);
            return [(1 - z) * candidate + z * h[i]!, reset, z, candidate, inner];
          }
          return [kind === 'tanh' ? Math.tanh(sum(0, i)) : Math.max(0, sum(0, i))];
        });
        h = kept.map((parts) => parts[0]!);
        c = kept.map((parts) => parts[1] ?? 0);
        forEach([states, n], ([part, i]) => {
          out![((row * v.steps + t) * states + part) * n + i] = machine.round(kept[i]![part]!);
        });
      }
    }
  },
  recurrentGrad: (machine, v) => {
    const kind = kinds[v.kind]!;
    const n = v.hidden;
    const parts = recurrentParts[kind];
    const [out, kept, w, grad] = [v.out, v.states, v.w, v.grad].map((address) => machine.at(address));
    const [dh0, dc0, h0, c0] = [v.dh0, v.dc0, v.h0, v.c0].map((address) => machine.at(address));
    const width = v.cells ? 2 : 1;
    for (const row of range(v.rows)) {
      const steps = order(v.steps, v.reverse);
      let [dh, dc] = [new Array<number>(n).fill(0), new Array<number>(n).fill(0)];
      for (const step of range(v.steps).reverse()) {
        const t = steps[step]!;
        const state = (part: number, i: number): number =>
          kept![((row * v.steps + t) * parts.states + part) * n + i]!;
        const before = (part: 0 | 1, i: number): number => {
          if (step > 0) return kept![((row * v.steps + steps[step - 1]!) * parts.states + part) * n + i]!;
          if (!v.initial) return 0;
          return part === 0 ? h0![row * n + i]! : c0![row * n + i]!;
        };
        const g = (part: number, i: number): number => grad![((row * v.steps + t) * width + part) * n + i]!;
        const slopes = range(n).map((i) => {
          const h = dh[i]! + g(0, i);
          if (kind === 'lstm') {
            const [input, forget, candidate, output] = [2, 3, 4, 5].map((part) => state(part, i));
            const tanhC = Math.tanh(state(1, i));
            const cell = dc[i]! + h * output! * (1 - tanhC ** 2) + (v.cells ? g(1, i) : 0);
            return {
              gates: [
                cell * candidate! * input! * (1 - input!),
                cell * before(1, i) * forget! * (1 - forget!),
                cell * input! * (1 - candidate! ** 2),
                h * tanhC * output! * (1 - output!),
              ],
              direct: 0,
              cell: cell * forget!,
            };
          }
          if (kind === 'gru') {
            const [reset, z, candidate, inner] = [1, 2, 3, 4].map((part) => state(part, i));
            const dn = h * (1 - z!) * (1 - candidate! ** 2);
            return {
              gates: [
                dn * inner! * reset! * (1 - reset!),
                h * (before(0, i) - candidate!) * z! * (1 - z!),
                dn,
                dn * reset!,
              ],
              direct: h * z!,
              cell: 0,
            };
          }
          const slope = kind === 'tanh' ? 1 - state(0, i) ** 2 : Number(!(state(0, i) <= 0));
          return { gates: [h * slope], direct: 0, cell: 0 };
        });
        forEach([parts.slopes, n], ([part, i]) => {
          out![((row * v.steps + t) * parts.slopes + part) * n + i] = machine.round(slopes[i]!.gates[part]!);
        });
        // A GRU's r has no slope of x_n but one of its own.
        const ofR = kind === 'gru' ? [0, 1, 3] : range(parts.gates);
        dh = range(n).map((j) =>
          ofR.reduce(
            (sum, part, gate) =>
              sum + slopes.reduce((s, { gates }, i) => s + gates[part]! * w![(gate * n + i) * n + j]!, 0),
            slopes[j]!.direct,
          ),
        );
        dc = slopes.map(({ cell }) => cell);
      }
      dh.forEach((value, i) => {
        dh0![row * n + i] = machine.round(value);
        dc0![row * n + i] = machine.round(dc[i]!);
      });
    }
  },
};
