/** Products of vectors and tensors, made of `matmul`. */
import { broadcastShapes, expectTensors, formatSpec, inNameOf, OpError, sizeOf } from '../core/shape.ts';
import type { Tensor } from '../core/tensor.ts';
import { mul } from './elementwise.ts';
import { matmul } from './matmul.ts';
import { diagonal } from './parts.ts';
import { sum } from './reduce.ts';
import { expand, permute, reshape, unsqueeze } from './shape.ts';

/** Every product of an element of a [n] and one of b [m]: [n, m]. Throws OpError. */
export function outer(a: Tensor, b: Tensor): Tensor {
  expectTensors('outer', a, b);
  if (a.rank !== 1 || b.rank !== 1) {
    throw new OpError('outer', `got ${formatSpec(a)} and ${formatSpec(b)}, expected two vectors`);
  }
  return inNameOf('outer', () => mul(unsqueeze(a, 1), b));
}

/** Σ a[i] · b[i] of two vectors. Throws OpError. */
export function dot(a: Tensor, b: Tensor): Tensor {
  expectTensors('dot', a, b);
  if (a.rank !== 1 || b.rank !== 1 || a.size !== b.size) {
    throw new OpError('dot', `got ${formatSpec(a)} and ${formatSpec(b)}, expected two vectors of one size`);
  }
  return inNameOf('dot', () => matmul(a, b));
}

/** A tensor with a name for each axis. */
interface Named {
  readonly x: Tensor;
  readonly names: readonly string[];
}

const ELLIPSIS = '...';

/** `ij,...jk->...ik` → the names of each operand's axes and of the result's; an ellipsis becomes axes 0, 1, … */
function parse(
  equation: string,
  tensors: readonly Tensor[],
): { operands: Named[]; result: readonly string[] } {
  const fail = (expected: string): never => {
    throw new OpError(
      'einsum',
      `got '${equation}' for ${tensors.map(formatSpec).join(', ') || 'no tensors'}, expected ${expected}`,
    );
  };
  const [left = '', right, ...rest] = equation.replaceAll(' ', '').split('->');
  const terms = left.split(',');
  const form = /^[A-Za-z]*(\.\.\.)?[A-Za-z]*$/;
  if (rest.length > 0 || ![...terms, right ?? ''].every((term) => form.test(term))) {
    fail("letters for axes, as in 'bij,bjk->bik', with at most one ellipsis in a term");
  }
  if (terms.length !== tensors.length || tensors.length === 0) fail('one term per tensor');
  const letters = (term: string): string[] => [...term.replace(ELLIPSIS, '')];
  const hidden = terms.map((term, i) => tensors[i]!.rank - letters(term).length);
  const most = Math.max(0, ...hidden.filter((_, i) => terms[i]!.includes(ELLIPSIS)));
  /** The names of `count` axes behind an ellipsis, which are aligned on the right. */
  const dots = (count: number): string[] => Array.from({ length: count }, (_, i) => String(most - count + i));
  const named = (term: string, count: number): string[] => {
    const [before = '', after] = term.split(ELLIPSIS);
    return after === undefined ? [...before] : [...before, ...dots(count), ...after];
  };
  const operands = terms.map((term, i) => {
    const count = hidden[i]!;
    if (term.includes(ELLIPSIS) ? count < 0 : count !== 0) fail(`a name for each axis of tensor ${i}`);
    return { x: tensors[i]!, names: named(term, count) };
  });
  const all = operands.flatMap(({ names }) => names);
  const once = [...new Set(letters(terms.join('')))].filter(
    (name) => all.indexOf(name) === all.lastIndexOf(name),
  );
  const result = right === undefined ? [...dots(most), ...once.sort()] : named(right, most);
  if (new Set(result).size !== result.length || !result.every((name) => all.includes(name))) {
    fail('each axis of the result once, and known from a tensor');
  }
  return { operands, result };
}

/** Diagonals where an operand names an axis twice; sums over axes that nobody else needs. */
function simplify({ x, names }: Named, needed: ReadonlySet<string>): Named {
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice !== undefined) {
    const [i, j] = [names.indexOf(twice), names.lastIndexOf(twice)];
    const others = names.filter((_, axis) => axis !== i && axis !== j);
    return simplify({ x: diagonal(x, i, j), names: [...others, twice] }, needed);
  }
  const alone = names.flatMap((name, axis) => (needed.has(name) ? [] : [axis]));
  if (alone.length === 0) return { x, names };
  return { x: sum(x, alone), names: names.filter((name) => needed.has(name)) };
}

/** Axes in the order of `names`; missing ones have size 1. */
function arrange({ x, names }: Named, order: readonly string[]): Tensor {
  const present = order.filter((name) => names.includes(name));
  const sorted = permute(
    x,
    present.map((name) => names.indexOf(name)),
  );
  let axis = 0;
  return reshape(
    sorted,
    order.map((name) => (names.includes(name) ? sorted.shape[axis++]! : 1)),
  );
}

/** Two operands in one, with the axes that are still needed: a batched matrix product. */
function contract(a: Named, b: Named, needed: ReadonlySet<string>): Named {
  const size = (side: Named, name: string): number => side.x.shape[side.names.indexOf(name)]!;
  const sizes = (order: readonly string[]): number[] =>
    broadcastShapes('einsum', [order.map((name) => size(a, name)), order.map((name) => size(b, name))]);
  const shared = a.names.filter((name) => b.names.includes(name));
  const batch = shared.filter((name) => needed.has(name));
  const inner = shared.filter((name) => !needed.has(name));
  const rows = a.names.filter((name) => !shared.includes(name));
  const columns = b.names.filter((name) => !shared.includes(name));
  const names = [...batch, ...rows, ...columns];
  if (inner.length === 0) return { x: mul(arrange(a, names), arrange(b, names)), names };
  const [batchSizes, innerSizes] = [sizes(batch), sizes(inner)];
  const [m, n] = [rows.map((name) => size(a, name)), columns.map((name) => size(b, name))];
  const matrix = (
    side: Named,
    first: readonly string[],
    p: number[],
    second: readonly string[],
    q: number[],
  ) =>
    reshape(expand(arrange(side, [...batch, ...first, ...second]), [...batchSizes, ...p, ...q]), [
      ...batchSizes,
      sizeOf(p),
      sizeOf(q),
    ]);
  const product = matmul(matrix(a, rows, m, inner, innerSizes), matrix(b, inner, innerSizes, columns, n));
  return { x: reshape(product, [...batchSizes, ...m, ...n]), names };
}

/**
 * Sums of products over named axes (Einstein's notation), as in PyTorch: 'bij,bjk->bik' is a batched matrix product, 'ii'
 * a trace, 'ij->ji' a transpose, '...ij,jk->...ik' has any axes in front. Without an arrow the result has the axes that
 * are named once, in alphabetical order. Tensors are combined from the left. Throws OpError.
 */
export function einsum(equation: string, ...tensors: readonly Tensor[]): Tensor {
  if (typeof equation !== 'string')
    throw new OpError('einsum', "got no equation, expected einsum('ij,jk->ik', a, b)");
  expectTensors('einsum', ...tensors);
  return inNameOf('einsum', () => combine(parse(equation, tensors)));
}

function combine({ operands, result }: ReturnType<typeof parse>): Tensor {
  const neededFrom = (i: number): Set<string> =>
    new Set([...operands.slice(i).flatMap(({ names }) => names), ...result]);
  const others = (i: number): Set<string> =>
    new Set([...operands.filter((_, j) => j !== i).flatMap(({ names }) => names), ...result]);
  const simple = operands.map((operand, i) => simplify(operand, others(i)));
  const combined = simple
    .slice(1)
    .reduce((left, right, i) => contract(left, right, neededFrom(i + 2)), simple[0]!);
  const { x, names } = simplify(combined, new Set(result));
  return permute(
    x,
    result.map((name) => names.indexOf(name)),
  );
}
