/** The engine's back half: walks the record backwards. It works on tensors, so gradients have gradients. */
import { atScope, context, noGrad, withGrad } from '../core/context.ts';
import {
  expectArray,
  expectDType,
  expectTensors,
  formatSpec,
  inNameOf,
  OpError,
  sameShape,
} from '../core/shape.ts';
import { type Origin, Tensor } from '../core/tensor.ts';
import { add, fullOf, sumTo } from '../ops/index.ts';

export interface GradientOptions {
  /** Record the backward pass too, so that the gradients can be differentiated. Default false. */
  readonly createGraph?: boolean;
  /** Gradient with respect to the output; default 1 for a scalar. Same shape as the output. */
  readonly seed?: Tensor;
}

/** One tensor for each of `S`: a tuple for a tuple. */
type EachOf<S extends readonly Tensor[]> = { -readonly [K in keyof S]: Tensor };

/**
 * Gradients of `output` with respect to each of `sources`: Σ over all paths. Sources are variables, or tensors that were made of
 * variables on the way to the output. One that the output does not depend on gets zeros. `output` must be a scalar unless a
 * seed is given. Throws OpError, also on a source that requires no gradients and on an output that was not recorded, whose
 * gradients would be silent zeros.
 */
export function gradients<const S extends readonly Tensor[]>(
  output: Tensor,
  sources: S,
  options: GradientOptions = {},
): EachOf<S> {
  expectArray('gradients', 'sources', sources);
  expectTensors('gradients', output, ...sources);
  if (!options.seed && output.size !== 1) {
    throw new OpError(
      'gradients',
      `got ${formatSpec(output)}, expected a scalar; reduce it with mean() or sum(), or pass a seed`,
    );
  }
  if (options.seed && !sameShape(options.seed.shape, output.shape)) {
    throw new OpError(
      'gradients',
      `got a seed ${formatSpec(options.seed)} for an output ${formatSpec(output)}, expected one of its shape`,
    );
  }
  sources.forEach(expectSource);
  if (output.unrecorded && !sources.includes(output)) {
    throw new OpError(
      'gradients',
      `got ${formatSpec(output)} that was not recorded, expected an output of recorded ops; compute it outside of noGrad, and ` +
        'gradients that are differentiated in turn with { createGraph: true }; detach(x) makes a constant of it',
    );
  }
  const mode = options.createGraph ? withGrad : noGrad;
  return mode(() => {
    const found = propagate(output, options.seed ?? fullOf(output, 1), sources);
    return sources.map((source) => found.get(source) ?? fullOf(source, 0)) as EachOf<S>;
  });
}

function expectSource(source: Tensor, index: number): void {
  if (source.requiresGrad) return;
  const wayOut =
    source.dtype === 'f32'
      ? 'make one with variable(x), and compute the output from it outside of noGrad'
      : 'integers and bools have no gradients';
  throw new OpError(
    'gradients',
    `got source ${index}, ${formatSpec(source)}, that requires no gradients, expected variables and what is made of them; ${wayOut}`,
  );
}

/** How gradients go back from a tensor: around what a shortcut leaves out only where nobody asks for that. */
function originOf(tensor: Tensor, sources: ReadonlySet<Tensor>): Origin | undefined {
  const { origin } = tensor;
  return origin?.asCalled && sources.has(origin.asCalled.input) ? origin.asCalled.origin : origin;
}

/** Reverse order of making among the tensors between `output` and `sources`; iterative: graphs can be deep. */
function pathsTo(sources: ReadonlySet<Tensor>, output: Tensor): Tensor[] {
  const leads = new Map<Tensor, boolean>();
  const order: Tensor[] = [];
  const stack: [tensor: Tensor, nextInput: number][] = [[output, 0]];
  while (stack.length > 0) {
    const top = stack[stack.length - 1]!;
    const [tensor, next] = top;
    const inputs = originOf(tensor, sources)?.inputs ?? [];
    if (next < inputs.length) {
      top[1]++;
      if (!leads.has(inputs[next]!)) stack.push([inputs[next]!, 0]);
      continue;
    }
    stack.pop();
    if (leads.has(tensor)) continue;
    const onPath = sources.has(tensor) || inputs.some((input) => leads.get(input));
    leads.set(tensor, onPath);
    if (onPath) order.push(tensor);
  }
  return order.reverse();
}

function propagate(output: Tensor, seed: Tensor, sources: readonly Tensor[]): Map<Tensor, Tensor> {
  const wanted = new Set(sources);
  const order = pathsTo(wanted, output);
  const onPath = new Set(order);
  const cotangents = new Map<Tensor, Tensor>([[output, seed]]);
  for (const tensor of order) {
    const g = cotangents.get(tensor);
    const origin = originOf(tensor, wanted);
    if (!g || !origin) continue;
    if (!wanted.has(tensor)) cotangents.delete(tensor);
    atScope(`grad(${origin.label})`, () => {
      // Weights come last among inputs: their gradients are done first, so that whoever sends them need not wait for the rest.
      const partials = origin.inputs.map((): Tensor | null => null);
      for (let i = partials.length - 1; i >= 0; i--) {
        const { shape } = origin.inputs[i]!;
        const partial = onPath.has(origin.inputs[i]!) ? origin.backward(g, i) : null;
        partials[i] = partial && (sameShape(partial.shape, shape) ? partial : sumTo(partial, shape));
      }
      for (const [i, input] of origin.inputs.entries()) {
        const [partial, sum] = [partials[i], cotangents.get(input)];
        if (partial) cotangents.set(input, sum ? add(sum, partial) : partial);
      }
    });
  }
  return cotangents;
}

/** Every leaf below `output` that requires gradients. */
function leavesOf(output: Tensor): Tensor[] {
  const seen = new Set<Tensor>([output]);
  const stack = [output];
  const leaves: Tensor[] = [];
  for (let tensor = stack.pop(); tensor; tensor = stack.pop()) {
    if (!tensor.origin && tensor.requiresGrad) leaves.push(tensor);
    for (const input of tensor.origin?.inputs ?? []) {
      if (!seen.has(input)) {
        seen.add(input);
        stack.push(input);
      }
    }
  }
  return leaves;
}

/** PyTorch's `backward()`: adds the gradients to `grad` of every leaf that requires them. */
export function backward(output: Tensor, options: GradientOptions = {}): void {
  const leaves = leavesOf(output);
  if (leaves.length === 0) {
    throw new OpError('backward', 'no tensor below requires gradients; make one with variable(values)');
  }
  const found = gradients(output, leaves, options);
  leaves.forEach((leaf, i) => {
    leaf.grad = leaf.grad ? add(leaf.grad, found[i]!) : found[i]!;
  });
}

/** Another tensor with the same numbers. In a trace it stays the same node: a parameter does not become a constant. */
const sameAs = (source: Tensor, options: { requiresGrad?: boolean; origin?: Origin } = {}): Tensor =>
  new Tensor(context().trace?.nodeOf(source) ?? source.value, source.shape, source.dtype, options);

/** A leaf that requires gradients, with the numbers of `source`, which is f32. Throws OpError. */
export function variable(source: Tensor): Tensor {
  expectDType('variable', 'input', source, 'f32');
  return sameAs(source, { requiresGrad: true });
}

/** The same numbers without history. */
export function detach(source: Tensor): Tensor {
  expectTensors('detach', source);
  return sameAs(source);
}

/** A tensor of its own to differentiate by; gradients of gradients still flow through it. */
const alias = (source: Tensor): Tensor =>
  sameAs(source, { origin: { label: 'input', inputs: [source], backward: (g) => g } });

/**
 * x ↦ [f(x), ∂f/∂x₁, ∂f/∂x₂, …] of a scalar function; nest it for higher derivatives. Inputs are f32: what has no gradient, like
 * labels, reaches f as part of its closure.
 */
export const valueAndGrad =
  <I extends readonly Tensor[]>(f: (...inputs: I) => Tensor) =>
  (...inputs: I): [value: Tensor, gradients: EachOf<I>] => {
    // An input of an outer grad gets an alias: f may also reach it by other ways, along which nothing is asked here.
    const variables = inNameOf('grad', () =>
      inputs.map((input) => (input?.requiresGrad ? alias(input) : variable(input))),
    );
    const value = withGrad(() => f(...(variables as unknown as I)));
    return [value, gradients(value, variables, { createGraph: context().recording }) as EachOf<I>];
  };

/** x ↦ ∂f/∂x₁ (an array where f takes several inputs). */
export const grad =
  <I extends readonly Tensor[]>(f: (...inputs: I) => Tensor) =>
  (...inputs: I): EachOf<I> =>
    valueAndGrad(f)(...inputs)[1];

/**
 * A function with a gradient of your own: `backward(g, inputs, output)` gives one gradient per input (null: none).
 * For what has no useful derivative (sign, rounding) or a better one than its formula's.
 */
export function customGradient<I extends readonly Tensor[]>(
  forward: (...inputs: I) => Tensor,
  backwardRule: (g: Tensor, inputs: I, output: Tensor) => readonly (Tensor | null)[],
  name = forward.name || 'customGradient',
): (...inputs: I) => Tensor {
  return (...inputs) => {
    const result = noGrad(() => forward(...inputs));
    if (!context().recording || !inputs.some((input) => input.requiresGrad)) return result;
    let last: { g: Tensor; found: readonly (Tensor | null)[] } | undefined;
    const origin = {
      label: name,
      inputs,
      backward: (g: Tensor, index: number): Tensor | null => {
        if (last?.g !== g) last = { g, found: backwardRule(g, inputs, output) };
        const { found } = last;
        if (found.length !== inputs.length) {
          throw new OpError(
            name,
            `backward gave ${found.length} gradients, expected one per input: ${inputs.length}`,
          );
        }
        return found[index] ?? null;
      },
    };
    const output: Tensor = sameAs(result, { origin });
    return output;
  };
}
