/** Recurrent layers over sequences. Names, layouts and start values are PyTorch's, with the batch first. */
import {
  add,
  concat,
  expectTensors,
  formatSpec,
  matmul,
  narrow,
  OpError,
  type Parameter,
  recurrent,
  reshape,
  stack,
  type Tensor,
  withScope,
} from '@lockstep/autograd';
import { ConfigError, expectNumber, expectOptions, formatValue } from '../common/errors.ts';
import { uniform } from '../common/init.ts';
import { type Module, module, parameter, placeOf } from '../model/module.ts';
import { dropout } from './activations.ts';

export interface RecurrentLayerOptions {
  /** Layers on top of each other. Default 1. */
  readonly layers?: number;
  /** A second pass from the end to the beginning; the outputs lie side by side. Default false. */
  readonly bidirectional?: boolean;
  /** Learnt biases. Default true. */
  readonly bias?: boolean;
  /** Share of elements that dropout sets to 0 between layers. Default 0. */
  readonly dropout?: number;
}
export interface RnnOptions extends RecurrentLayerOptions {
  /** Default `tanh`. */
  readonly nonlinearity?: 'tanh' | 'relu';
}

/** A sequence, and states to start with; a tensor alone starts with zeros. */
export interface RecurrentInput {
  /** [batch, steps, inputs] */
  readonly input: Tensor;
  /** [layers · directions, batch, hidden] */
  readonly hidden?: Tensor;
  /** The cells of an lstm, [layers · directions, batch, hidden]. */
  readonly cell?: Tensor;
}

const isRecurrentInput = (given: Tensor | RecurrentInput): given is RecurrentInput =>
  typeof given === 'object' && Boolean(given) && 'input' in given;

export interface RecurrentOutput {
  /** The last layer's states at all steps, [batch, steps, directions · hidden]. */
  readonly output: Tensor;
  /** The state after the last step of each layer and direction, [layers · directions, batch, hidden]. */
  readonly hidden: Tensor;
}
export interface LstmOutput extends RecurrentOutput {
  /** The cells after the last step. */
  readonly cell: Tensor;
}

/** Fields: `weight_ih_l0`, `weight_hh_l0`, `bias_ih_l0`, `bias_hh_l0`, then `…_l0_reverse`, `…_l1` and so on. */
export type Recurrent<O extends RecurrentOutput = RecurrentOutput> = Module<Tensor | RecurrentInput, O> & {
  readonly [name: `${'weight' | 'bias'}_${'ih' | 'hh'}_l${string}`]: Parameter;
};

type Kind = 'tanh' | 'relu' | 'lstm' | 'gru';
const GATES = { tanh: 1, relu: 1, lstm: 4, gru: 3 } as const;
const OPTIONS = ['layers', 'bidirectional', 'bias', 'dropout'];

/** The weights of one direction of one layer. */
interface Direction {
  readonly wIh: Parameter;
  readonly wHh: Parameter;
  readonly bIh: Parameter | undefined;
  readonly bHh: Parameter | undefined;
  readonly reverse: boolean;
}

/** What a direction gives: the states at all steps, the last one, and (asked for only) the last cells. */
interface Pass {
  readonly states: Tensor;
  readonly last: Tensor;
  readonly cell: () => Tensor;
}

function runDirection(
  kind: Kind,
  x: Tensor,
  { wIh, wHh, bIh, bHh, reverse }: Direction,
  h0: Tensor | undefined,
  c0: Tensor | undefined,
): Pass {
  const product = matmul(x, wIh, { transB: true });
  // A GRU multiplies its recurrent part, with its bias, by the reset gate.
  const both = bIh && bHh && kind !== 'gru' ? add(bIh, bHh) : bIh;
  const gates = both ? add(product, both) : product;
  const settings = {
    ...{ kind, reverse },
    ...(kind === 'gru' && bHh ? { bias: bHh } : {}),
    ...(h0 ? { h0 } : {}),
    ...(c0 ? { c0 } : {}),
  };
  const states = recurrent(gates, wHh, settings);
  const [rows, steps, hidden] = states.shape as [number, number, number];
  const lastOf = (all: Tensor, from: number): Tensor =>
    reshape(narrow(narrow(all, 1, reverse ? 0 : steps - 1, 1), -1, from, hidden), [rows, hidden]);
  return {
    states,
    last: lastOf(states, 0),
    cell: () => lastOf(recurrent(gates, wHh, { ...settings, cells: true }), hidden),
  };
}

function layersOf(who: string, kind: Kind, inputs: number, hidden: number, options: RecurrentLayerOptions) {
  const { layers = 1, bidirectional = false, bias = true } = options;
  expectNumber(who, 'inputs', inputs, { min: 1, integer: true });
  expectNumber(who, 'hidden', hidden, { min: 1, integer: true });
  expectNumber(who, 'layers', layers, { min: 1, integer: true });
  const draw = uniform(-1 / Math.sqrt(hidden), 1 / Math.sqrt(hidden));
  const rows = GATES[kind] * hidden;
  const fields: Record<string, Parameter> = {};
  const own = (name: string, shape: readonly number[]): Parameter => {
    fields[name] = parameter(draw(shape));
    return fields[name];
  };
  const directions = Array.from({ length: layers }, (_, layer) =>
    (bidirectional ? [false, true] : [false]).map((reverse): Direction => {
      const suffix = `l${layer}${reverse ? '_reverse' : ''}`;
      const width = layer === 0 ? inputs : hidden * (bidirectional ? 2 : 1);
      return {
        reverse,
        wIh: own(`weight_ih_${suffix}`, [rows, width]),
        wHh: own(`weight_hh_${suffix}`, [rows, hidden]),
        bIh: bias ? own(`bias_ih_${suffix}`, [rows]) : undefined,
        bHh: bias ? own(`bias_hh_${suffix}`, [rows]) : undefined,
      };
    }),
  );
  return { fields, directions };
}

function layer<O extends RecurrentOutput>(
  name: string,
  kind: Kind,
  [inputs, hidden]: readonly [number, number],
  options: RecurrentLayerOptions,
): Recurrent<O> {
  const who = `nn.${name}`;
  const { fields, directions } = layersOf(who, kind, inputs, hidden, options);
  const drop = dropout(options.dropout ?? 0);
  const label = `${name}(${inputs}, ${hidden})`;
  const fail = (problem: string): never => {
    throw new OpError(placeOf(label), problem);
  };

  const run = (given: Tensor | RecurrentInput): LstmOutput => {
    const { input, hidden: h, cell: c } = isRecurrentInput(given) ? given : { input: given };
    expectTensors(placeOf(label), input);
    if (input.rank !== 3 || input.shape[2] !== inputs) {
      fail(`got ${formatSpec(input)}, expected [batch, steps, ${inputs}]`);
    }
    if (input.shape[1] === 0) fail(`got ${formatSpec(input)}, expected at least one step`);
    const rows = input.shape[0]!;
    const count = directions.length * directions[0]!.length;
    const stateOf = (states: Tensor | undefined, i: number): Tensor | undefined => {
      if (!states) return undefined;
      if (
        states.rank !== 3 ||
        states.shape[0] !== count ||
        states.shape[1] !== rows ||
        states.shape[2] !== hidden
      ) {
        fail(`got states ${formatSpec(states)}, expected [${count}, ${rows}, ${hidden}]`);
      }
      return reshape(narrow(states, 0, i, 1), [rows, hidden]);
    };
    const passes: Pass[] = [];
    let x = input;
    directions.forEach((both, i) => {
      const from = i === 0 ? x : drop(x);
      const results = withScope(`l${i}`, () =>
        both.map((direction, d) => {
          const at = i * both.length + d;
          return runDirection(kind, from, direction, stateOf(h, at), stateOf(c, at));
        }),
      );
      passes.push(...results);
      x =
        results.length === 1
          ? results[0]!.states
          : concat(
              results.map(({ states }) => states),
              -1,
            );
    });
    return {
      output: x,
      hidden: stack(
        passes.map(({ last }) => last),
        0,
      ),
      get cell() {
        return stack(
          passes.map(({ cell }) => cell()),
          0,
        );
      },
    };
  };
  const forward = run as unknown as (given: Tensor | RecurrentInput) => O;
  return module(label, fields, forward) as Recurrent<O>;
}

/**
 * h' = tanh(W_ih x + b_ih + W_hh h + b_hh), or with relu (Elman, 1990), over [batch, steps, inputs]. Throws ConfigError, and
 * OpError on an input that does not fit.
 */
export function rnn(inputs: number, hidden: number, options: RnnOptions = {}): Recurrent {
  expectOptions('nn.rnn', options, [...OPTIONS, 'nonlinearity']);
  const { nonlinearity = 'tanh' } = options;
  if (nonlinearity !== 'tanh' && nonlinearity !== 'relu') {
    throw new ConfigError(
      'nn.rnn',
      `got nonlinearity = ${formatValue(nonlinearity)}, expected 'tanh' or 'relu'`,
    );
  }
  return layer('rnn', nonlinearity, [inputs, hidden], options);
}

/** Gated recurrent units (Cho et al., 2014), in PyTorch's form: gates r z n. Throws ConfigError and OpError. */
export function gru(inputs: number, hidden: number, options: RecurrentLayerOptions = {}): Recurrent {
  expectOptions('nn.gru', options, OPTIONS);
  return layer('gru', 'gru', [inputs, hidden], options);
}

/** Long short-term memory (Hochreiter and Schmidhuber, 1997): gates i f g o. Throws ConfigError and OpError. */
export function lstm(
  inputs: number,
  hidden: number,
  options: RecurrentLayerOptions = {},
): Recurrent<LstmOutput> {
  expectOptions('nn.lstm', options, OPTIONS);
  return layer('lstm', 'lstm', [inputs, hidden], options);
}
