import { describe, expect, it } from 'vitest';
import * as a from '../index.ts';

const numbersOf = (x: a.Tensor): number[] => [...x.data()];
const cube = (x: a.Tensor): a.Tensor => a.mul(x, a.mul(x, x));

describe('gradients', () => {
  it('adds over all paths', () => {
    const x = a.variable(a.tensor(3));
    const y = x.mul(x).add(x).add(x); // x² + 2x
    expect(a.gradients(y, [x])[0]!.item()).toBe(8);
  });

  it('gives zeros of the right shape for what the output does not depend on', () => {
    const [x, z] = [a.variable(a.tensor(3)), a.variable(a.ones([2, 3]))];
    expect(a.gradients(x.mul(2), [x, z]).map(numbersOf)).toEqual([[2], [0, 0, 0, 0, 0, 0]]);
  });

  it('differentiates by a tensor in the middle', () => {
    const x = a.variable(a.tensor(3));
    const y = x.mul(x);
    const z = y.mul(y);
    expect(a.gradients(z, [y, x]).map(numbersOf)).toEqual([[18], [108]]);
  });

  it('takes a seed for an output that is not a scalar', () => {
    const x = a.variable(a.tensor([1, 2, 3]));
    const seed = a.tensor([1, 10, 100]);
    expect(numbersOf(a.gradients(x.mul(x), [x], { seed })[0]!)).toEqual([2, 40, 600]);
  });

  it('walks a graph too deep for recursion', () => {
    const x = a.variable(a.tensor(1));
    let y: a.Tensor = x;
    for (let i = 0; i < 20_000; i++) y = a.add(y, 1);
    expect(a.gradients(y, [x])[0]!.item()).toBe(1);
  });

  it('adds to grad on every backward, and only on leaves', () => {
    const x = a.variable(a.tensor([1, 2]));
    const y = x.mul(x);
    y.sum().backward();
    y.sum().backward();
    expect(numbersOf(x.grad!)).toEqual([4, 8]);
    expect(y.grad).toBeUndefined();
  });

  it('records nothing in noGrad, and nothing of the backward pass unless asked', () => {
    const x = a.variable(a.tensor(2));
    expect(a.noGrad(() => x.mul(x)).requiresGrad).toBe(false);
    expect(a.gradients(cube(x), [x])[0]!.requiresGrad).toBe(false);
    expect(a.gradients(cube(x), [x], { createGraph: true })[0]!.requiresGrad).toBe(true);
  });

  it('stops at detach', () => {
    const x = a.variable(a.tensor(3));
    expect(a.gradients(x.mul(x.detach()), [x])[0]!.item()).toBe(3);
    expect(x.detach().requiresGrad).toBe(false);
  });
});

describe('where there is no derivative, as PyTorch', () => {
  const at = (values: number[], f: (x: a.Tensor) => a.Tensor): number[] =>
    numbersOf(a.grad((x) => a.sum(f(x)))(a.tensor(values))[0]!);
  it.each<[string, number[], (x: a.Tensor) => a.Tensor, number[]]>([
    ['equal operands of maximum share', [2, 3], (x) => a.maximum(x, 2), [0.5, 1]],
    ['equal operands of minimum share', [2, 3], (x) => a.minimum(x, 2), [0.5, 0]],
    ['equal largest elements share', [5, 1, 5, 5, 5], (x) => a.max(x), [0.25, 0, 0.25, 0.25, 0.25]],
    ['equal smallest elements share', [1, 5, 1], (x) => a.min(x), [0.5, 0, 0.5]],
    ['relu at 0', [0, -0, 1], (x) => a.relu(x), [0, 0, 1]],
    ['relu at a NaN', [Number.NaN, -1], (x) => a.relu(x), [1, 0]],
    ['maximum beside a NaN', [2, Number.NaN], (x) => a.maximum(x, a.tensor([Number.NaN, 1])), [1, 1]],
    ['hardswish at ±3', [-3, 3], (x) => a.hardswish(x), [0, 1]],
    ['abs at 0', [0, -2], (x) => a.abs(x), [0, -1]],
    ['sign and rounding', [0.2, -3], (x) => a.sign(x).add(a.round(x)).add(a.floor(x)).add(a.ceil(x)), [0, 0]],
    ['x⁰ at 0', [0, 2], (x) => a.pow(x, 0), [0, 0]],
  ])('%s', (_, values, f, expected) => {
    // + 0: the sign of a zero does not matter.
    expect(at(values, f).map((g) => g + 0)).toEqual(expected);
  });

  it('knows all derivatives of a power at 0', () => {
    const derivatives = [2, 3].map((p) => {
      let f = (x: a.Tensor): a.Tensor => a.sum(a.pow(x, p));
      return [1, 2, 3, 4, 5].map(() => {
        const before = f;
        f = (x) => a.sum(a.grad(before)(x)[0]);
        return f(a.tensor([0])).item() + 0;
      });
    });
    expect(derivatives).toEqual([
      [0, 2, 0, 0, 0],
      [0, 0, 6, 0, 0],
    ]);
  });
});

describe('grad and valueAndGrad', () => {
  it('give value and gradients by every input', () => {
    const f = a.valueAndGrad((x, y) => x.mul(x).mul(y));
    const [value, slopes] = f(a.tensor(3), a.tensor(5));
    expect([value.item(), ...slopes.map((g) => g.item())]).toEqual([45, 30, 9]);
  });

  it('nest: x³ has the derivatives 3x², 6x, 6, 0', () => {
    const derivatives = [cube];
    for (let order = 1; order <= 4; order++) {
      const previous = derivatives.at(-1)!;
      derivatives.push((x) => a.grad(previous)(x)[0]!);
    }
    expect(derivatives.map((f) => f(a.tensor(2)).item())).toEqual([8, 12, 12, 6, 0]);
  });

  it('tell the inner variable from the outer one', () => {
    // d/dx (x · d/dy (x · y)) = d/dx x² = 2x, also where y = x.
    const f = (x: a.Tensor): a.Tensor => x.mul(a.grad((y) => x.mul(y))(x)[0]!);
    expect(f(a.tensor(3)).item()).toBe(9);
    expect(a.grad(f)(a.tensor(3))[0]!.item()).toBe(6);
  });

  it('leave the inputs as they were', () => {
    const x = a.tensor(3);
    a.grad(cube)(x);
    expect([x.requiresGrad, x.grad]).toEqual([false, undefined]);
  });

  it('record within noGrad, but not their own backward pass', () => {
    const [slope] = a.noGrad(() => a.grad(cube)(a.tensor(2)));
    expect([slope!.item(), slope!.requiresGrad]).toEqual([12, false]);
  });

  it('give a Hessian row by row', () => {
    const f = (x: a.Tensor): a.Tensor => a.sum(cube(x)).add(a.sum(x).mul(a.sum(x)));
    const row = (i: number) =>
      a.grad((x) =>
        a.sum(
          a
            .grad(f)(x)[0]!
            .mul(a.oneHot(a.tensor(Int32Array.of(i)), 3)),
        ),
      );
    const hessian = [0, 1, 2].map((i) => numbersOf(row(i)(a.tensor([1, 2, 3]))[0]!));
    expect(hessian).toEqual([
      [8, 2, 2],
      [2, 14, 2],
      [2, 2, 20],
    ]);
  });
});

describe('customGradient', () => {
  const straightThrough = a.customGradient(
    (x) => a.sign(x),
    (g) => [g],
    'straightThrough',
  );

  it('replaces the gradient, not the value', () => {
    const x = a.variable(a.tensor([-2, 0.5]));
    const y = straightThrough(x);
    expect(numbersOf(y)).toEqual([-1, 1]);
    expect(numbersOf(a.gradients(y.mul(3).sum(), [x])[0]!)).toEqual([3, 3]);
  });

  it('may give back its input', () => {
    const clipped = a.customGradient(
      (x) => x,
      (g) => [a.clamp(g, -1, 1)],
    );
    const x = a.variable(a.tensor([1, 2]));
    expect(
      numbersOf(
        a.gradients(
          clipped(x)
            .mul(a.tensor([5, -0.5]))
            .sum(),
          [x],
        )[0]!,
      ),
    ).toEqual([1, -0.5]);
  });

  it('has gradients of gradients through its rule', () => {
    const square = a.customGradient(
      (x) => x.mul(x),
      (g, [x]) => [g.mul(x!).mul(2)],
    );
    expect(
      a
        .grad((x) => a.grad((z) => square(square(z)))(x)[0]!)(a.tensor(2))[0]!
        .item(),
    ).toBe(48); // (x⁴)″
    expect(a.checkGradients((x) => square(x).sum(), [a.tensor([1, -2])])).toMatchObject({ ok: true });
  });

  it('takes null for an input without gradient', () => {
    const scale = a.customGradient(
      (x, s) => x.mul(s),
      (g, [, s]) => [g.mul(s!), null],
    );
    const [x, s] = [a.variable(a.tensor(3)), a.variable(a.tensor(2))];
    expect(a.gradients(scale(x, s), [x, s]).map((g) => g.item())).toEqual([2, 0]);
  });

  it('records nothing in noGrad', () => {
    const x = a.variable(a.tensor(3));
    expect(a.noGrad(() => straightThrough(x)).requiresGrad).toBe(false);
  });

  it('says which function gave the wrong number of gradients', () => {
    const wrong = a.customGradient(
      (x, y) => x.mul(y),
      (g) => [g],
      'halfDone',
    );
    const x = a.variable(a.tensor(1));
    expect(() => a.gradients(wrong(x, x), [x])).toThrow(
      'halfDone: backward gave 1 gradients, expected one per input: 2',
    );
  });
});

describe('checkGradients', () => {
  it('finds a wrong gradient, and says where', () => {
    const wrong = a.customGradient(
      (x) => x.mul(x),
      (g, [x]) => [a.where(a.gt(x!, 2), g.mul(x!), g.mul(x!).mul(2))],
    );
    const result = a.checkGradients((x) => wrong(x).sum(), [a.tensor([1, 2, 3])]);
    expect(result).toMatchObject({ ok: false, input: 0, element: 2, analytic: 3 });
    expect(result.numeric).toBeCloseTo(6, 6);
  });

  it('does not forget a NaN', () => {
    const result = a.checkGradients((x) => a.sqrt(x).sum(), [a.tensor([-1, 4])]);
    expect(result).toMatchObject({ ok: false, error: Number.NaN, element: 0 });
  });

  it('keeps integer inputs fixed', () => {
    const labels = a.tensor(Int32Array.of(1, 0));
    const f = (x: a.Tensor, y: a.Tensor): a.Tensor => a.crossEntropyRows(x, y).sum();
    expect(
      a.checkGradients(f, [
        a.tensor([
          [1, 2],
          [3, 5],
        ]),
        labels,
      ]),
    ).toMatchObject({ ok: true });
  });
});
