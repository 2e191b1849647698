/** A model as a table, for people. */
import { formatShape, Parameter } from '@lockstep/autograd';
import { walk } from './parameters.ts';

/** One module: what the command line prints as a line. */
export interface SummaryRow {
  /** Path in the model (`0`), empty for the model itself. */
  readonly name: string;
  /** What it is: `linear(784, 128)`, or the name of the user's class or function. */
  readonly kind: string;
  /** Shapes of its own parameters: `[128, 784], [128]`. */
  readonly shape: string;
  /** How many numbers it has of its own. */
  readonly parameters: number;
}

/** Modules with parameters of their own and those without any children, in order of definition. */
export function summary(model: unknown): SummaryRow[] {
  const places = [...walk(model)];
  const own = new Map<string, Parameter[]>();
  const parents = new Set<string>();
  for (const { path, value } of places) {
    if (path === '') continue;
    const parent = path.includes('.') ? path.slice(0, path.lastIndexOf('.')) : '';
    parents.add(parent);
    if (value instanceof Parameter) own.set(parent, [...(own.get(parent) ?? []), value]);
  }
  return places.flatMap(({ path, value }) => {
    const parameters = own.get(path) ?? [];
    if (value instanceof Parameter || (parameters.length === 0 && parents.has(path))) return [];
    if (parameters.length === 0 && typeof value !== 'function' && !('forward' in value)) return [];
    return {
      name: path,
      kind: typeof value === 'function' ? value.name || 'function' : value.constructor.name,
      shape: parameters.map(({ shape }) => formatShape(shape)).join(', '),
      parameters: parameters.reduce((total, { size }) => total + size, 0),
    };
  });
}
