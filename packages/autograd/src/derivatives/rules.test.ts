/** No silent zeros: a gradient that is asked for is right, or an error says why there is none. */
import { describe, expect, it } from 'vitest';
import { numbers, opTests } from '../../test/cases.ts';
import { compositeTests } from '../../test/composites.ts';
import * as a from '../index.ts';

const numbersOf = (x: a.Tensor): number[] => [...x.data()];
/** A scalar that depends on every element differently. */
const weighted = (y: a.Tensor): a.Tensor => a.sum(a.mul(y, numbers(y.shape, -1, 1, 9)));

type OpRule = (op: a.AnyOp, index: number) => a.GradientRule<never>;
const ruleOf: OpRule = ({ backward }, index) =>
  typeof backward === 'function' ? backward(index) : (backward[index] ?? null);

describe('rules of ops', () => {
  /** Written in tensor ops where they are recorded, so that they refuse inputs that require gradients. */
  const refusing = Object.entries(opTests).flatMap(([name, { differentiable }]) =>
    differentiable === 'refused' ? [name] : [],
  );

  it('are there for each f32 input of an op with an f32 result, in all cases, first and second gradients', () => {
    const seen = new Set<string>();
    const silent = new Set<string>();
    const look: a.Observer = (label, inputs, output) => {
      const name = label.split('/').at(-1)!;
      const op = Object.values(a.ops).find((other) => other.name === name) as unknown as a.AnyOp;
      seen.add(name);
      inputs.forEach(({ dtype }, i) => {
        if (dtype === 'f32' && output.dtype === 'f32' && ruleOf(op, i) === null) silent.add(name);
      });
    };
    for (const { cases, differentiable = true } of Object.values({ ...opTests, ...compositeTests })) {
      for (const { inputs, call, forwardOnly } of cases) {
        a.withObserver(look, () => {
          if (differentiable !== true || forwardOnly || inputs.length === 0) {
            call(...inputs);
            return;
          }
          const xs = inputs.map(a.variable);
          const found = a.gradients(weighted(call(...xs)), xs, { createGraph: true });
          const total = found.map(weighted).reduce((p, q) => a.add(p, q));
          if (total.requiresGrad) a.gradients(total, xs);
        });
      }
    }
    expect(Object.values(a.ops).flatMap(({ name }) => (seen.has(name) ? [] : [name]))).toEqual([]);
    expect([...silent].sort()).toEqual(refusing.sort());
  });

  it('a mask of attention that is learnt gets its gradient, whoever asks for it', () => {
    const packed = numbers([1, 3, 3, 1, 2], -1, 1);
    const [q, k, v] = [0, 1, 2].map((i) => a.slice(packed, null, null, i, 0)) as [
      a.Tensor,
      a.Tensor,
      a.Tensor,
    ];
    const mask = a.variable(numbers([3, 3], -1, 1, 4));
    const one = a.selfAttention(packed, { mask });
    const other = a.scaledDotProductAttention(q, k, v, { mask });
    const [g, h] = [one, other].map((y) => a.gradients(weighted(a.reshape(y, [1, 3, 2])), [mask])[0]!);
    expect(numbersOf(g!).some((x) => x !== 0)).toBe(true);
    numbersOf(g!).forEach((x, i) => {
      expect(x).toBeCloseTo(h!.data()[i]!, 5);
    });
  });

  it('a rule of blocks of squares', () => {
    const x = a.variable(a.tensor([1, 2, 3]));
    expect(numbersOf(a.gradients(a.sum(a.mul(a.blockSquares(x, 2), a.tensor([1, 10]))), [x])[0])).toEqual([
      2, 4, 60,
    ]);
  });
});

describe('gradients with respect to what is on the way', () => {
  const image = numbers([2, 3, 4, 6], -2, 2);
  const bias = numbers([3, 1, 1], -1, 1, 2);
  /** From the image and the bias: what the pooling gets, the first one first. */
  const ways: Record<string, (x: a.Tensor, b: a.Tensor) => a.Tensor[]> = {
    relu: (x) => [a.relu(x)],
    'a bias': (x, b) => [a.add(x, b)],
    'a bias, relu': (x, b) => {
      const y = a.add(x, b);
      return [y, a.relu(y)];
    },
    'relu, a bias': (x, b) => {
      const y = a.relu(x);
      return [y, a.add(y, b)];
    },
    'a bias, relu, a bias, relu': (x, b) => {
      const first = a.add(x, b);
      const second = a.relu(first);
      const third = a.add(second, b);
      return [first, second, third, a.relu(third)];
    },
    'a product': (x, b) => [a.mul(x, b)],
  };
  const pools: Record<string, (x: a.Tensor) => a.Tensor> = {
    maxPool2d: (x) => a.maxPool2d(x, 2),
    overlapping: (x) => a.maxPool2d(x, 3, { stride: 1, padding: 1 }),
    adaptive: (x) => a.adaptiveMaxPool2d(x, [2, 4]),
    maxPool1d: (x) => a.maxPool1d(a.reshape(x, [6, 4, 6]), 2),
  };
  const cases = Object.keys(ways).flatMap((way) => Object.keys(pools).map((pool) => ({ way, pool })));

  it.each(cases)('$pool behind $way', ({ way, pool }) => {
    const [x, b] = [a.variable(image), a.variable(bias)];
    const between = ways[way]!(x, b);
    const y = pools[pool]!(between.at(-1)!);
    // Independent: each tensor as a variable of its own, from which the rest is computed once more.
    const opaque = a.customGradient(
      (z) => z,
      (g) => [g],
    );
    const expected = between.map((z, i) => {
      const variable = a.variable(a.detach(z));
      const rest = ways[way]!(image, bias).length - 1 - i;
      const again = ways[way]!(a.detach(x), a.detach(b));
      expect(numbersOf(again[i]!)).toEqual(numbersOf(z));
      let last: a.Tensor = variable;
      const steps = way.split(', ').slice(-rest || Infinity);
      if (rest > 0)
        for (const step of steps) last = opaque(step === 'relu' ? a.relu(last) : a.add(last, bias));
      return numbersOf(a.gradients(weighted(pools[pool]!(opaque(last))), [variable])[0]);
    });
    between.forEach((z, i) => {
      expect(numbersOf(a.gradients(weighted(y), [z])[0]), `${i} alone`).toEqual(expected[i]);
    });
    const all = a.gradients(weighted(y), [...between, x, b]);
    expect(all.slice(0, between.length).map(numbersOf)).toEqual(expected);
    // What leaves are told does not depend on who else asks, but for the order of sums.
    const [dx, db] = a.gradients(weighted(y), [x, b]);
    [dx, db].forEach((g, i) => {
      const found = numbersOf(all[between.length + i]!);
      numbersOf(g).forEach((value, j) => {
        expect(found[j]).toBeCloseTo(value, 4);
      });
    });
  });

  it('as PyTorch has them', () => {
    // h = x.relu(); F.max_pool2d(h, 2).sum(), by h and by x.
    const x = a.variable(
      a.tensor([
        [
          [-1, 2, -3, -4],
          [3, 1, -5, -6],
        ],
      ]),
    );
    const h = a.relu(x);
    const y = a.sum(a.maxPool2d(h, 2));
    expect(numbersOf(a.gradients(y, [h])[0])).toEqual([0, 0, 1, 0, 1, 0, 0, 0]);
    expect(numbersOf(a.gradients(y, [x])[0])).toEqual([0, 0, 0, 0, 1, 0, 0, 0]);
    expect(a.gradients(y, [h, x]).map(numbersOf)).toEqual([
      [0, 0, 1, 0, 1, 0, 0, 0],
      [0, 0, 0, 0, 1, 0, 0, 0],
    ]);
  });

  it('of a tensor that other ops read as well', () => {
    const x = a.variable(image);
    const h = a.relu(x);
    const y = a.add(weighted(a.maxPool2d(h, 2)), weighted(a.square(h)));
    const apart = a.variable(a.detach(h));
    const expected = a.gradients(a.add(weighted(a.maxPool2d(apart, 2)), weighted(a.square(apart))), [
      apart,
    ])[0];
    expect(numbersOf(a.gradients(y, [h])[0])).toEqual(numbersOf(expected));
  });

  it('of gradients of gradients', () => {
    const second = (f: (h: a.Tensor) => a.Tensor): number[] => {
      const x = a.variable(image);
      const h = f(x);
      const y = a.sum(a.square(a.maxPool2d(h, 2)));
      const [g] = a.gradients(y, [h], { createGraph: true });
      return numbersOf(a.gradients(weighted(g), [h])[0]);
    };
    const found = second(a.relu);
    expect(found.some((value) => value !== 0)).toBe(true);
    expect(found).toEqual(second((x) => a.mul(a.relu(x), 1)));
  });

  it('in a trace', () => {
    const trace = new a.Trace();
    const node = a.withTrace(trace, () => {
      const x = a.variable(trace.input('field', 'x', { shape: [1, 4, 4], dtype: 'f32' }));
      const h = a.relu(x);
      return trace.nodeOf(a.gradients(a.sum(a.maxPool2d(h, 2)), [h])[0]);
    });
    expect(node.label).toContain('maxPool2dGrad');
  });
});

describe('errors instead of silent zeros', () => {
  const x = a.variable(a.tensor([1, 2]));
  const total = (y: a.Tensor): a.Tensor => a.sum(a.mul(y, y));
  const integers = a.tensor(Int32Array.of(1, 2));
  it.each<[string, () => unknown, string, string]>([
    [
      'a source that is no variable',
      () => a.gradients(total(a.tensor([1])), [a.tensor([1])]),
      'gradients: got source 0, f32[1]',
      'variable(x)',
    ],
    [
      'a source of integers',
      () => a.gradients(total(x), [x, integers]),
      'gradients: got source 1, i32[2]',
      'no gradients',
    ],
    [
      'a source made in noGrad',
      () => a.gradients(total(x), [a.noGrad(() => a.relu(x))]),
      'gradients: got source 0, f32[2]',
      'outside of noGrad',
    ],
    [
      'a source that is detached',
      () => a.gradients(total(x), [a.detach(x)]),
      'gradients: got source 0',
      'variable(x)',
    ],
    [
      'an output made in noGrad',
      () =>
        a.gradients(
          a.noGrad(() => total(x)),
          [x],
        ),
      'gradients: got f32[] that was not recorded',
      'createGraph',
    ],
    [
      'an output made of what was made in noGrad',
      () => a.gradients(total(a.noGrad(() => a.relu(x))), [x]),
      'gradients: got f32[]',
      'noGrad',
    ],
    [
      'gradients that are not recorded',
      () => a.gradients(total(a.gradients(total(x), [x])[0]), [x]),
      'gradients: got f32[]',
      '{ createGraph: true }',
    ],
    [
      'a function of tensors that are no inputs',
      () =>
        a.gradients(
          a.sum(
            a.customGradient(
              (y) => a.mul(y, x),
              (g) => [g],
            )(a.ones([2])),
          ),
          [x],
        ),
      'gradients: got f32[]',
      'recorded',
    ],
    ['a variable of integers', () => a.variable(integers), 'variable: got input i32[2]', 'f32'],
    [
      'grad by integers',
      () => a.grad((y, labels) => total(a.add(y, a.cast(labels, 'f32'))))(x, integers),
      'grad: got input i32[2]',
      'f32',
    ],
    [
      'a seed of another shape',
      () => a.gradients(a.mul(x, x), [x], { seed: a.ones([3]) }),
      'gradients: got a seed f32[3]',
      'f32[2]',
    ],
  ])('%s', (_, call, start, wayOut) => {
    let message = 'no error';
    try {
      call();
    } catch (error) {
      expect(error).toBeInstanceOf(a.OpError);
      message = (error as Error).message;
    }
    expect(message.startsWith(start), message).toBe(true);
    expect(message).toContain(wayOut);
  });

  it('but zeros where they are right', () => {
    const y = a.variable(a.ones([2]));
    expect(numbersOf(a.gradients(total(x), [y])[0])).toEqual([0, 0]);
    expect(numbersOf(a.gradients(a.ones([]), [y])[0])).toEqual([0, 0]);
    expect(numbersOf(a.gradients(total(a.detach(x)), [x])[0])).toEqual([0, 0]);
    expect(numbersOf(a.gradients(total(a.mul(a.detach(a.relu(x)), 2)), [x])[0])).toEqual([0, 0]);
    expect(numbersOf(a.gradients(a.sum(a.cast(a.argmax(x), 'f32')), [x])[0])).toEqual([0, 0]);
    // Recorded, beside what was not.
    expect(
      numbersOf(
        a.gradients(
          a.sum(
            a.mul(
              x,
              a.noGrad(() => a.relu(x)),
            ),
          ),
          [x],
        )[0],
      ),
    ).toEqual([1, 2]);
  });
});
