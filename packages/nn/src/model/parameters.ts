/** Finds the parameters and buffers of a model, whatever it is made of: modules, classes, functions with fields, arrays, objects. */
import {
  formatShape,
  Parameter,
  type Shape,
  StateBuffer,
  sameShape,
  sizeOf,
  Tensor,
} from '@lockstep/autograd';
import { ConfigError } from '../common/errors.ts';

/** A place in a model: its path, and the parameter or buffer, or the function or object that may own some. */
export interface Place {
  readonly path: string;
  readonly value: Parameter | StateBuffer | object;
}

/** All places reached by own enumerable fields, each once, owners before what they own, in order of definition. */
export function* walk(model: unknown, path = '', seen = new Set<unknown>()): Generator<Place> {
  const isOwner = typeof model === 'function' || (typeof model === 'object' && model !== null);
  if (!isOwner || ArrayBuffer.isView(model) || seen.has(model)) return;
  seen.add(model);
  if (model instanceof Tensor && !isKept(model)) return;
  yield { path, value: model };
  if (model instanceof Tensor) return;
  for (const [key, value] of Object.entries(model)) {
    yield* walk(value, path === '' ? key : `${path}.${key}`, seen);
  }
}

const isKept = (tensor: Tensor): tensor is Parameter | StateBuffer =>
  tensor instanceof Parameter || tensor instanceof StateBuffer;

/**
 * Parameters by their path in the model (`0.weight`), in order of definition; one that is shared appears once, under its
 * first name. Throws ConfigError where two paths read the same.
 */
export const namedParameters = (model: unknown): Map<string, Parameter> =>
  named(model, 'parameters', (value) => value instanceof Parameter);

/** Buffers (running statistics) by their path, like `namedParameters`. Throws ConfigError. */
export const namedBuffers = (model: unknown): Map<string, StateBuffer> =>
  named(model, 'buffers', (value) => value instanceof StateBuffer);

function named<T extends Tensor>(
  model: unknown,
  what: 'parameters' | 'buffers',
  is: (value: unknown) => value is T,
): Map<string, T> {
  const found = new Map<string, T>();
  for (const { path, value } of walk(model)) {
    if (!is(value)) continue;
    if (found.has(path)) {
      throw new ConfigError(
        what === 'parameters' ? 'namedParameters' : 'namedBuffers',
        `got two ${what} under the name ${path}; rename a field that has a dot`,
      );
    }
    found.set(path, value);
  }
  return found;
}

/** Number of trained numbers in a model. */
export const countParameters = (model: unknown): number =>
  [...namedParameters(model).values()].reduce((total, { size }) => total + size, 0);

/** The numbers of one parameter, row-major. */
export interface StateEntry {
  readonly shape: Shape;
  readonly data: Float32Array;
}

/** A copy of all parameters and buffers by name. */
export const stateOf = (model: unknown): Map<string, StateEntry> =>
  copies([...namedParameters(model), ...namedBuffers(model)]);

/** A copy of all parameters by name: what a digest is taken of. */
export const parametersOf = (model: unknown): Map<string, StateEntry> => copies([...namedParameters(model)]);

function copies(tensors: readonly (readonly [string, Tensor])[]): Map<string, StateEntry> {
  return new Map(
    tensors.map(([name, { shape, value }]) => [
      name,
      { shape, data: Float32Array.from(value as Float32Array) },
    ]),
  );
}

/**
 * Copies a state into a model. Names and shapes must be the model's own; nothing is copied if any is not. Throws
 * ConfigError with all differences.
 */
export function loadState(model: unknown, state: ReadonlyMap<string, StateEntry>): void {
  const kept = new Map<string, Tensor>([...namedParameters(model), ...namedBuffers(model)]);
  const problems = [...kept].flatMap(([name, { shape }]) => {
    const entry = state.get(name);
    if (!entry) return [`missing ${name} ${formatShape(shape)}`];
    if (!sameShape(entry.shape, shape)) {
      return [`${name} is ${formatShape(entry.shape)}, expected ${formatShape(shape)}`];
    }
    return entry.data.length === sizeOf(shape)
      ? []
      : [`${name} has ${entry.data.length} numbers, expected ${sizeOf(shape)}`];
  });
  problems.push(...[...state.keys()].filter((name) => !kept.has(name)).map((name) => `unexpected ${name}`));
  if (problems.length > 0) {
    const shown = problems.slice(0, 8).join('; ');
    const rest = problems.length > 8 ? `; and ${problems.length - 8} more` : '';
    throw new ConfigError(
      'loadState',
      `the weights do not fit the model: ${shown}${rest}; build the model that they were saved from`,
    );
  }
  for (const [name, tensor] of kept) {
    (tensor.value as Float32Array).set(state.get(name)!.data);
  }
}
