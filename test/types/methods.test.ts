/** Every op is a method of tensors under its name, with the types of the function; the type check of this package holds it. */
import { sum, type Tensor, tensor } from 'lockstep';
import { expect, expectTypeOf, it } from 'vitest';

/** Methods that cannot be called, as the type of one was that has a rest parameter. */
type Never<T> = { [K in keyof T]: [T[K]] extends [never] ? K : never }[keyof T];

it('methods have the types of their functions', () => {
  expectTypeOf<Never<Tensor>>().toEqualTypeOf<never>();
  const x = tensor([
    [1, 2, 3],
    [4, 5, 6],
  ]);
  expectTypeOf(x.slice([0, 1])).toEqualTypeOf<Tensor>();
  expect([
    ...x
      .slice([0, 1], null)
      .pad([[0, 1]])
      .roll(1, 1)
      .data(),
  ]).toEqual([0, 1, 2, 3]);
  expect(x.slice(1, [1, null]).sum().item()).toBe(11);
  expect(x.clamp(2, 5).var().item()).toBeCloseTo(1.9, 5);
  expect(sum(x).item()).toBe(21);
  // @ts-expect-error: an axis is a number
  expect(() => x.narrow('0', 0, 1)).toThrow('narrow: got axis 0');
});
