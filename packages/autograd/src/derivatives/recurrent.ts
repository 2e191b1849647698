/** Recurrent layers as functions with gradients. */
import { type RecurrentKind, recurrentParts } from '@lockstep/kernels';
import { apply } from '../core/apply.ts';
import { context } from '../core/context.ts';
import { expectFlag, expectTensors, OpError } from '../core/shape.ts';
import type { Tensor } from '../core/tensor.ts';
import { zeros } from '../ops/elementwise.ts';
import {
  add,
  concat,
  matmul,
  mul,
  narrow,
  pad,
  relu,
  reshape,
  sigmoid,
  stack,
  sub,
  sum,
  tanh,
} from '../ops/index.ts';
import { recurrentGradOp, recurrentOp } from '../ops/recurrent.ts';
import { customGradient, grad } from './gradients.ts';

export interface RecurrentOptions {
  readonly kind: RecurrentKind;
  /** [gates · hidden], added to the product with the state. */
  readonly bias?: Tensor;
  /** State to start with, [batch, hidden]. Default: zeros. */
  readonly h0?: Tensor;
  /** The same for the cells of an lstm. */
  readonly c0?: Tensor;
  /** From the last step to the first. Default false. */
  readonly reverse?: boolean;
  /** Also gives the cells of an lstm: h and c together, [batch, steps, 2 · hidden]. Default false. */
  readonly cells?: boolean;
}

interface Sequence {
  readonly kind: RecurrentKind;
  readonly reverse: boolean;
  readonly cells: boolean;
  readonly hidden: number;
  readonly steps: number;
  readonly biased: boolean;
  readonly initial: boolean;
}

/** x, w and what else there is, by name. */
function partsOf({ biased }: Sequence, [x, w, ...more]: readonly Tensor[]) {
  const [h0, c0] = biased ? more.slice(1) : more;
  return { x: x!, w: w!, bias: biased ? more[0] : undefined, h0, c0 };
}

/** The states before each step: those of the neighbouring step, and the first ones. */
function before(states: Tensor, h0: Tensor | undefined, { hidden, steps, reverse }: Sequence): Tensor {
  const h = narrow(states, -1, 0, hidden);
  const others = narrow(h, 1, reverse ? 1 : 0, steps - 1);
  if (!h0) return pad(others, [reverse ? [0, 1] : [1, 0], [0, 0]]);
  const first = reshape(h0, [h0.shape[0]!, 1, hidden]);
  return concat(reverse ? [others, first] : [first, others], 1);
}

/** Gradients of all inputs, from what the forward pass kept. */
function slopesOf(g: Tensor, states: Tensor, inputs: readonly Tensor[], sequence: Sequence): Tensor[] {
  const { kind, reverse, cells, hidden, initial, biased } = sequence;
  const { w, h0, c0 } = partsOf(sequence, inputs);
  const first = [h0, c0].filter((state) => state !== undefined);
  const find = (wanted: 'slopes' | 'h0' | 'c0'): Tensor =>
    apply(recurrentGradOp, [states, w, g, ...first], { kind, reverse, cells, initial, wanted });
  const slopes = find('slopes');
  const isGru = kind === 'gru';
  const dx = isGru ? narrow(slopes, -1, 0, 3 * hidden) : slopes;
  // A GRU's candidate has a slope of its own for the recurrent part.
  const dr = isGru
    ? concat([narrow(slopes, -1, 0, 2 * hidden), narrow(slopes, -1, 3 * hidden, hidden)], -1)
    : slopes;
  const rows = slopes.shape[0]! * slopes.shape[1]!;
  const flat = reshape(dr, [rows, dr.shape[2]!]);
  const dw = matmul(flat, reshape(before(states, h0, sequence), [rows, hidden]), { transA: true });
  return [
    dx,
    dw,
    ...(biased ? [sum(flat, 0)] : []),
    ...(h0 ? [find('h0')] : []),
    ...(c0 ? [find('c0')] : []),
  ];
}

/** Step by step in tensor ops, for gradients of gradients. */
function byParts(inputs: readonly Tensor[], sequence: Sequence): Tensor {
  const { kind, reverse, cells, hidden, steps } = sequence;
  const { x, w, bias, h0, c0 } = partsOf(sequence, inputs);
  const { gates } = recurrentParts[kind];
  const none = zeros([x.shape[0]!, hidden]);
  let [h, c] = [h0 ?? none, c0 ?? none];
  const results = new Array<Tensor>(steps);
  for (let step = 0; step < steps; step++) {
    const t = reverse ? steps - 1 - step : step;
    const input = reshape(narrow(x, 1, t, 1), [x.shape[0]!, gates * hidden]);
    const product = matmul(h, w, { transB: true });
    const r = bias ? add(product, bias) : product;
    const part = (from: Tensor, gate: number): Tensor => narrow(from, -1, gate * hidden, hidden);
    const gate = (i: number): Tensor => add(part(input, i), part(r, i));
    if (kind === 'lstm') {
      c = add(mul(sigmoid(gate(1)), c), mul(sigmoid(gate(0)), tanh(gate(2))));
      h = mul(sigmoid(gate(3)), tanh(c));
    } else if (kind === 'gru') {
      const [reset, z] = [sigmoid(gate(0)), sigmoid(gate(1))];
      const candidate = tanh(add(part(input, 2), mul(reset, part(r, 2))));
      h = add(mul(sub(1, z), candidate), mul(z, h));
    } else {
      h = kind === 'tanh' ? tanh(gate(0)) : relu(gate(0));
    }
    results[t] = cells ? concat([h, c], -1) : h;
  }
  return stack(results, 1);
}

/**
 * The hidden states of a recurrent layer at all steps, [batch, steps, hidden]. x [batch, steps, gates · hidden] is the
 * input's part of the gates (1 for `tanh` and `relu`; 4 for `lstm`: i f g o; 3 for `gru`: r z n), w [gates · hidden,
 * hidden] the weight of the state; layouts are PyTorch's. Throws OpError.
 */
export function recurrent(x: Tensor, w: Tensor, options: RecurrentOptions): Tensor {
  const { kind, bias, h0, c0, reverse = false, cells = false } = options;
  expectTensors('recurrent', x, w);
  expectFlag('recurrent', 'reverse', reverse);
  expectFlag('recurrent', 'cells', cells);
  const isLstm = kind === 'lstm';
  if ((c0 || cells) && !isLstm)
    throw new OpError('recurrent', `got cells for ${kind}; only an lstm has them`);
  if (isLstm && (h0 === undefined) !== (c0 === undefined)) {
    throw new OpError('recurrent', 'got one of h0 and c0, expected both or none');
  }
  const hidden = w.shape[1] ?? 0;
  const sequence: Sequence = {
    ...{ kind, reverse, cells, hidden, steps: x.shape[1] ?? 0 },
    ...{ biased: bias !== undefined, initial: h0 !== undefined },
  };
  const inputs = [x, w, bias, h0, c0].filter((input) => input !== undefined);
  let states: Tensor | undefined;
  const run = customGradient(
    (...given: Tensor[]) => {
      states = apply(recurrentOp, given, {
        kind,
        reverse,
        biased: sequence.biased,
        initial: sequence.initial,
      });
      return narrow(states, -1, 0, cells ? 2 * hidden : hidden);
    },
    (g, given) => {
      if (!context().recording) return slopesOf(g, states!, given, sequence);
      return grad((...xs: Tensor[]) => sum(mul(byParts(xs, sequence), g)))(...given);
    },
    kind === 'tanh' || kind === 'relu' ? 'rnn' : kind,
  );
  return run(...inputs);
}
