/** Recurrent layers over whole sequences, a kernel each way. What users call is in `../recurrent.ts`. */
import {
  ELEMENT_BYTES,
  type RecurrentKind,
  recurrentKinds,
  recurrentParts,
  recurrentScratchBytes,
} from '@lockstep/kernels';
import type { KernelOp } from '../core/op.ts';
import { expectDType, formatSpec, OpError, type Shape, type Spec, sizeOf } from '../core/shape.ts';
import { contiguousView, type Emitter, materialize, type View } from '../core/view.ts';

export interface RecurrentAttrs {
  readonly kind: RecurrentKind;
  /** From the last step to the first. */
  readonly reverse: boolean;
  /** There is a bias of the recurrent part. */
  readonly biased: boolean;
  /** There are states to start with. */
  readonly initial: boolean;
}

export interface RecurrentGradAttrs extends Omit<RecurrentAttrs, 'biased'> {
  /** g is of h and c [B, T, 2 · H], else of h [B, T, H]. */
  readonly cells: boolean;
  /** What comes out: the gates' slopes [B, T, Q · H], or those of the first states [B, H]. */
  readonly wanted: 'slopes' | 'h0' | 'c0';
}

const offset = ({ address, ...view }: View, elements: number): View => ({
  ...view,
  address: { ...address, offset: address.offset + elements * ELEMENT_BYTES },
});

/** A call for all rows that share a weight: all, or a segment each where the weights differ between shards. */
function eachWeight(weight: View, rows: number, call: (at: number, rows: number, weightAt: number) => void) {
  const size = sizeOf(weight.shape.slice(-2));
  const segments = Math.max(1, sizeOf(weight.shape.slice(0, -2)));
  for (let s = 0; s < segments; s++) call((s * rows) / segments, rows / segments, s * size);
}

/** Repeats along the leading axes and copies where the memory does not lie in one piece. */
const aligned = (emit: Emitter, view: View, leading: Shape, rank: number): View =>
  materialize(emit, view, [...leading, ...view.shape.slice(-rank)]);

function expectSequence(name: string, kind: RecurrentKind, x: Spec, w: Spec, states: readonly Spec[]): void {
  for (const input of [x, w, ...states]) expectDType(name, 'input', input, 'f32');
  const { gates } = recurrentParts[kind];
  const hidden = w.shape[1] ?? 0;
  if (w.shape.length !== 2 || hidden === 0 || w.shape[0] !== gates * hidden) {
    throw new OpError(name, `got a weight ${formatSpec(w)}, expected [${gates} · hidden, hidden]`);
  }
  if (x.shape.length !== 3 || x.shape[2] !== gates * hidden) {
    throw new OpError(name, `got ${formatSpec(x)}, expected [batch, steps, ${gates * hidden}]`);
  }
  for (const state of states) {
    if (state.shape.length !== 2 || state.shape[0] !== x.shape[0] || state.shape[1] !== hidden) {
      throw new OpError(name, `got a state ${formatSpec(state)}, expected [${x.shape[0]}, ${hidden}]`);
    }
  }
}

/** Inputs x [B, T, gates · H], w [gates · H, H], bias [gates · H] if any, h0 and c0 [B, H] if any → states [B, T, P · H]. */
export const recurrentOp: KernelOp<RecurrentAttrs> = {
  kind: 'kernel',
  name: 'recurrent',
  infer: ([x, w, ...more], { kind, biased }) => {
    const states = biased ? more.slice(1) : more;
    expectSequence('recurrent', kind, x!, w!, states);
    if (biased && (more[0]!.shape.length !== 1 || more[0]!.shape[0] !== w!.shape[0])) {
      throw new OpError('recurrent', `got a bias ${formatSpec(more[0]!)}, expected [${w!.shape[0]}]`);
    }
    const width = recurrentParts[kind].states * w!.shape[1]!;
    return { shape: [x!.shape[0]!, x!.shape[1]!, width], dtype: 'f32' };
  },
  lower: (emit, output, [input, w, ...more], { kind, reverse, biased, initial }) => {
    const leading = output.shape.slice(0, -3);
    const x = aligned(emit, input!, leading, 3);
    const weight = materialize(emit, w!);
    const bias = biased ? aligned(emit, more[0]!, weight.shape.slice(0, -2), 1) : x;
    const first = (biased ? more.slice(1) : more).map((view) => aligned(emit, view, leading, 2));
    const hidden = weight.shape.at(-1)!;
    const [steps, width] = x.shape.slice(-2) as [number, number];
    eachWeight(weight, sizeOf(x.shape.slice(0, -2)), (at, rows, weightAt) =>
      emit.call('recurrent', {
        out: offset(output, at * steps * output.shape.at(-1)!).address,
        x: offset(x, at * steps * width).address,
        w: offset(weight, weightAt).address,
        bias: offset(bias, biased ? weightAt / hidden : 0).address,
        h0: offset(first[0] ?? x, first[0] ? at * hidden : 0).address,
        c0: offset(first[1] ?? x, first[1] ? at * hidden : 0).address,
        scratch: emit.scratch(recurrentScratchBytes(hidden)),
        ...{ rows, steps, hidden, kind: recurrentKinds[kind] },
        ...{ initial: Number(initial), biased: Number(biased), reverse: Number(reverse) },
      }),
    );
  },
  backward: () => null,
};

/** Inputs states, w, g, and h0 and c0 if any. */
export const recurrentGradOp: KernelOp<RecurrentGradAttrs> = {
  kind: 'kernel',
  name: 'recurrentGrad',
  infer: (inputs, { kind, wanted }) => {
    for (const input of inputs) expectDType('recurrentGrad', 'input', input, 'f32');
    const [states, w] = inputs;
    const [rows, steps] = states!.shape as [number, number];
    const hidden = w!.shape[1]!;
    const shape = wanted === 'slopes' ? [rows, steps, recurrentParts[kind].slopes * hidden] : [rows, hidden];
    return { shape, dtype: 'f32' };
  },
  lower: (emit, output, [kept, w, g, ...first], { kind, reverse, initial, cells, wanted }) => {
    const leading = output.shape.slice(0, wanted === 'slopes' ? -3 : -2);
    const weight = materialize(emit, w!);
    const [states, grad] = [kept!, g!].map((view) => aligned(emit, view, leading, 3)) as [View, View];
    const [h0, c0] = first.map((view) => aligned(emit, view, leading, 2));
    const [rowsOfShard, steps] = states.shape.slice(-3, -1) as [number, number];
    const rows = sizeOf(leading) * rowsOfShard;
    const hidden = weight.shape.at(-1)!;
    const parts = recurrentParts[kind];
    const target = (name: typeof wanted, width: number): View =>
      name === wanted ? output : contiguousView(emit.temporary(rows * width * ELEMENT_BYTES), [rows, width]);
    const slopes = target('slopes', steps * parts.slopes * hidden);
    const [dh0, dc0] = [target('h0', hidden), target('c0', hidden)];
    eachWeight(weight, rows, (at, count, weightAt) =>
      emit.call('recurrentGrad', {
        out: offset(slopes, at * steps * parts.slopes * hidden).address,
        dh0: offset(dh0, at * hidden).address,
        dc0: offset(dc0, at * hidden).address,
        states: offset(states, at * steps * parts.states * hidden).address,
        w: offset(weight, weightAt).address,
        grad: offset(grad, at * steps * (cells ? 2 : 1) * hidden).address,
        h0: offset(h0 ?? states, h0 ? at * hidden : 0).address,
        c0: offset(c0 ?? states, c0 ? at * hidden : 0).address,
        scratch: emit.scratch(recurrentScratchBytes(hidden)),
        ...{ rows: count, steps, hidden, kind: recurrentKinds[kind] },
        ...{ initial: Number(initial), reverse: Number(reverse), cells: Number(cells) },
      }),
    );
  },
  backward: () => null,
};
