/** What a module is: anything callable, or with a `forward`, that holds its parameters in fields. No base class. */
import { context, expectTensors, OpError, Parameter, Tensor, withScope } from '@lockstep/autograd';
import { ConfigError, formatValue } from '../common/errors.ts';

/** A function from input to output; its own enumerable fields hold parameters and further modules. */
export type Module<I = Tensor, O = Tensor> = (input: I) => O;

/** Where a module is expected, an object with `forward` will do: a class of the user's own. */
export type Layer<I = Tensor, O = Tensor> = Module<I, O> | { forward(input: I): O };

/**
 * A module from its fields (parameters, modules, arrays or plain objects of them) and what it computes. `kind` shows
 * in summaries and debuggers.
 */
export function module<F extends object, I = Tensor, O = Tensor>(
  kind: string,
  fields: F,
  forward: (input: I) => O,
): Module<I, O> & F {
  const callable = (input: I): O => forward(input);
  Object.defineProperty(callable, 'name', { value: kind });
  return Object.assign(callable, fields);
}

/** A layer by its place in the model and what it is: `blocks.0.linear1: linear(8, 32)`. Who complains in messages. */
export function placeOf(kind: string): string {
  const { scope } = context();
  return scope ? `${scope}: ${kind}` : kind;
}

/** A layer as a function. Throws ConfigError on anything that is none. */
export function toModule<I, O>(who: string, layer: Layer<I, O>): Module<I, O> {
  if (typeof layer === 'function') return layer;
  if (typeof layer?.forward === 'function') return (input) => layer.forward(input);
  throw new ConfigError(
    who,
    `got ${formatValue(layer)}, expected a function or an object with a method forward(input)`,
  );
}

/** A tensor that training changes, with a copy of the given f32 numbers. Throws OpError. */
export function parameter(values: Tensor): Parameter {
  expectTensors('nn.parameter', values);
  if (values.isTraced) {
    throw new OpError(
      'nn.parameter',
      'got a tensor of a traced step, expected numbers; make parameters once, where the model is built',
    );
  }
  if (values.dtype !== 'f32') {
    throw new OpError('nn.parameter', `got ${values.dtype}, expected f32; convert with cast(x, 'f32')`);
  }
  return new Parameter(Float32Array.from(values.data()), values.shape);
}

/** The fields '0', '1', … of a sequence of layers. */
type Numbered<L extends readonly unknown[]> = { readonly [K in keyof L & `${number}`]: L[K] };

/** Layers that run one after another; `model[0]` is the first, and parameters are named `0.weight`. */
export type Sequential<L extends readonly Layer[] = readonly Layer[]> = Module & Numbered<L>;

/** Runs layers one after another. They may be modules, plain functions, or objects with `forward`. Throws ConfigError. */
export function sequential<L extends readonly Layer[]>(...layers: L): Sequential<L> {
  const steps = layers.map((layer, i) => toModule(`nn.sequential, layer ${i}`, layer));
  const fields = Object.assign({}, layers) as unknown as Numbered<L>;
  return module(`sequential(${layers.length})`, fields, (input: Tensor) =>
    steps.reduce((x, step, i) => withScope(String(i), () => expectTensor(step(x))), input),
  );
}

/** Plain functions may forget their `return`. */
function expectTensor(output: unknown): Tensor {
  if (output instanceof Tensor) return output;
  throw new OpError(
    `nn.sequential, layer ${context().scope}`,
    `gave ${formatValue(output)}, expected a Tensor; return the layer's output`,
  );
}
