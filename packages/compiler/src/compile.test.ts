import * as a from '@lockstep/autograd';
import { availableVariants, disassemble } from '@lockstep/kernels';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import {
  type Choice,
  compileFunction,
  drawnFunction,
  eagerly,
  ROWS,
  regionBytes,
  run,
  type ShardFunction,
  WIDTH,
} from '../test/graphs.ts';
import { CompileError, compile } from './index.ts';

const variants = availableVariants();
afterAll(() => a.setEagerKernels('auto'));

describe('a program gives the bits of op by op, shard by shard', () => {
  const choice: fc.Arbitrary<Choice> = fc.tuple(fc.nat(1000), fc.nat(1000), fc.nat(1000), fc.nat(1000));

  it.each([1, 2, 3, 5, 8])('functions drawn at random, %i shards', (segments) => {
    fc.assert(
      fc.property(fc.array(choice, { minLength: 1, maxLength: 25 }), (choices) => {
        const body = drawnFunction(choices);
        const expected = eagerly(body, segments);
        const fused = compileFunction(body, segments);
        const separate = compileFunction(body, segments, false);
        expect(run(fused, segments), 'fused').toEqual(expected);
        expect(run(separate, segments), 'not fused').toEqual(expected);
        expect(run(fused, segments, variants[0]!), variants[0]!).toEqual(expected);
      }),
      { numRuns: 40, seed: 100 + segments },
    );
  });

  const cases: Record<string, ShardFunction> = {
    'inputs as they are': ({ x, square }) => [x, square],
    'one value in two places': ({ x, vector }) => {
      const value = a.tanh(a.mul(x, vector));
      return [value, value, a.sum(value)];
    },
    'a window on an output': ({ x, square }) => {
      const value = a.matmul(x, square);
      return [value, a.transpose(value), a.reshape(value, [ROWS * WIDTH])];
    },
    'a window on a window on an input': ({ x }) => [
      a.permute(a.reshape(a.transpose(x), [2, 2, ROWS]), [1, 2, 0]),
    ],
    'a sum over rows that is also used': ({ x, vector }) => {
      const total = a.sum(x, 0);
      return [total, a.mul(total, vector)];
    },
    'a weight gradient that is also used': ({ x, square }) => {
      const [g] = a.gradients(a.sum(a.square(a.matmul(x, square))), [square]);
      return [g!, a.sum(a.square(g!))];
    },
    'parameters alone, alike in all shards': ({ square, vector, scalar }) => [
      a.sum(a.square(square)),
      a.mul(vector, scalar),
    ],
    'constants of one number': ({ x, label }) => [
      a.mul(x, a.tensor([[0.1]])),
      a.add(label, a.tensor([3], { dtype: 'i32' })),
      a.tensor([2.5]),
      a.matmul(a.tensor([[1.5]]), a.reshape(x, [1, ROWS * WIDTH])),
    ],
    'constants alone': () => [a.full([3], 1.5), a.tensor([1, 2, 3]), a.add(a.full([2], 1), 0.25)],
    'gradients that are zero': ({ x, vector, scalar }) => a.gradients(a.sum(x), [vector, scalar]),
    'random numbers alone': () => [a.rand([7]), a.sum(a.rand([7]))],
    'broadcasts of views': ({ x, y }) => [
      a.mul(a.expand(a.transpose(x), [3, WIDTH, ROWS]), a.transpose(a.mul(y, 2))),
    ],
    'logits and labels': ({ x, label, square }) => {
      const loss = a.mean(a.crossEntropyRows(a.matmul(x, square), label));
      return [loss, ...a.gradients(loss, [square])];
    },
  };
  it.each(Object.entries(cases))('%s', (_, body) => {
    for (const segments of [1, 2, 3, 8]) {
      for (const kernels of variants) {
        a.setEagerKernels(kernels);
        const expected = eagerly(body, segments);
        for (const fuse of [true, false]) {
          expect(run(compileFunction(body, segments, fuse), segments, kernels), `${segments}`).toEqual(
            expected,
          );
        }
      }
    }
  });
});

const listing = (body: ShardFunction, segments: number): string =>
  disassemble(compileFunction(body, segments).program);

describe('what is not computed', () => {
  const count = (body: ShardFunction): number => compileFunction(body, 1, false).program.starts.length;

  it('what nobody needs', () => {
    const needed: ShardFunction = ({ x }) => [a.tanh(x)];
    const more: ShardFunction = ({ x, y, square }) => {
      a.exp(a.matmul(x, square));
      a.sum(y);
      return [a.tanh(x)];
    };
    expect(count(more)).toBe(count(needed));
  });

  it('the same thing twice', () => {
    const twice: ShardFunction = ({ x }) => [a.mul(a.exp(x), a.exp(x))];
    const once: ShardFunction = ({ x }) => {
      const e = a.exp(x);
      return [a.mul(e, e)];
    };
    expect(count(twice)).toBe(count(once));
  });

  it('but random numbers twice', () => {
    const [left, right] = run(
      compileFunction(() => [a.rand([9]), a.rand([9])], 1),
      1,
    );
    expect(left).not.toBe(right);
  });

  it('numbers that are known now', () => {
    const known: ShardFunction = ({ x }) => [a.mul(x, a.sqrt(a.add(a.full([ROWS, 1], 3), 1)))];
    const given: ShardFunction = ({ x }) => [a.mul(x, 2)];
    expect(count(known)).toBe(count(given));
  });
});

describe('fusion', () => {
  it('makes one pass of elementwise ops that feed each other, with what they share', () => {
    const body: ShardFunction = ({ x, vector }) => {
      const h = a.tanh(a.mul(x, vector));
      return [a.add(a.mul(h, h), 1), a.sub(a.exp(h), x)];
    };
    const passes = (fuse: boolean): number => compileFunction(body, 1, fuse).program.starts.length;
    expect(passes(true)).toBe(2); // the copy of x, and the chain
    expect(passes(false)).toBe(7);
  });

  it('computes what only a later chain needs there: the mask of a relu takes no memory', () => {
    const body: ShardFunction = ({ x, square }) => {
      const h = a.relu(a.add(x, 1));
      return [a.where(a.gt(h, 0), a.matmul(h, square), 0)];
    };
    const compiled = compileFunction(body, 2);
    expect(disassemble(compiled.program)).toMatch(/ gt \+ where: elementwise/);
    expect(run(compiled, 2)).toEqual(eagerly(body, 2));
  });

  it('does not run in a circle: a value may not feed a chain that feeds it', () => {
    const body: ShardFunction = ({ x, square }) => {
      const h = a.exp(x);
      return [a.mul(h, a.matmul(h, square))];
    };
    expect(run(compileFunction(body, 3), 3)).toEqual(eagerly(body, 3));
  });

  it('does not reach through a window into its own chain', () => {
    const body: ShardFunction = ({ x, square }) => {
      const h = a.add(square, 1);
      const m = a.sub(a.mul(x, 2), 1);
      return [a.add(h, a.transpose(h)), a.add(m, a.reshape(a.transpose(a.neg(m)), m.shape))];
    };
    expect(run(compileFunction(body, 3), 3)).toEqual(eagerly(body, 3));
  });

  it('cuts chains that are too long for the tile machine', () => {
    const body: ShardFunction = ({ x, vector }) => {
      const terms = Array.from({ length: 120 }, (_, i) => a.mul(a.add(x, i), a.sub(vector, i)));
      return [terms.reduce((sum, term) => a.add(sum, term))];
    };
    expect(run(compileFunction(body, 2), 2)).toEqual(eagerly(body, 2));
  });
});

describe('a batch of no rows', () => {
  /** What `body` makes of x [rows, 3]. */
  const programOf = (rows: number, body: (x: a.Tensor) => readonly a.Tensor[]) => {
    const trace = new a.Trace();
    const nodes = a.withTrace(trace, () => {
      const x = a.variable(trace.input('field', 'x', { shape: [rows, 3], dtype: 'f32' }));
      return body(x).map((value) => trace.nodeOf(value));
    });
    return compile({
      segments: 2,
      outputs: nodes.map((node, i) => ({ node, place: { region: `out ${i}`, offset: 0 }, reduce: 'tree' })),
      bind: (node) => ({
        kind: 'field',
        emit: (emitter, region, target, count) => {
          const source = a.contiguousView({ region: region('x').region, offset: 0 }, [count, ...node.shape]);
          a.copyView(emitter, source, target);
        },
      }),
    }).program;
  };

  it.each([20, 40, 70])('compiles a chain of %i results, whose buffers share an address', (results) => {
    const body = (x: a.Tensor): a.Tensor[] => {
      const values = [x];
      for (let i = 1; i <= results; i++) values.push(a.mul(x, values.at(-1)!));
      return values.slice(1);
    };
    const [some, none] = [programOf(5, body), programOf(0, body)];
    expect(none.starts.length).toBeLessThanOrEqual(some.starts.length);
  });

  it('compiles gradients of gradients', () => {
    const functions = [
      ...[a.mish, a.tanh, a.exp, a.square],
      (x: a.Tensor) => a.gelu(x),
      (x: a.Tensor) => a.softmax(x),
    ];
    for (const [i, f] of functions.entries()) {
      for (const g of functions.slice(i)) {
        const body = (x: a.Tensor): a.Tensor[] => {
          const y = a.mul(f(x), a.pow(g(x), 3));
          const [first] = a.gradients(a.sum(y), [x], { createGraph: true });
          return [y, first, ...a.gradients(a.sum(a.square(first)), [x])];
        };
        expect(programOf(0, body).starts.length).toBeLessThanOrEqual(programOf(5, body).starts.length);
      }
    }
  });
});

describe('memory', () => {
  const deep =
    (layers: number): ShardFunction =>
    ({ x, square }) => [
      Array.from({ length: layers }).reduce<a.Tensor>((h) => a.tanh(a.matmul(h, square)), x),
    ];

  it('of values that are not needed any more is used again', () => {
    const arena = (layers: number): number => regionBytes(compileFunction(deep(layers), 2), 'arena');
    expect(arena(40)).toBe(arena(3));
  });

  it('of what backward needs is kept', () => {
    const backward =
      (layers: number): ShardFunction =>
      (inputs) =>
        a.gradients(a.sum(deep(layers)(inputs)[0]!), [inputs.square]);
    expect(regionBytes(compileFunction(backward(12), 2), 'arena')).toBeGreaterThan(
      regionBytes(compileFunction(backward(6), 2), 'arena'),
    );
    expect(run(compileFunction(backward(12), 3), 3)).toEqual(eagerly(backward(12), 3));
  });

  it('of weights does not grow with the shards, of the batch it does', () => {
    const bytes = (name: string, segments: number): number =>
      regionBytes(compileFunction(deep(3), segments), name);
    expect(bytes('square', 8)).toBe(bytes('square', 1));
    expect(bytes('x', 8)).toBe(8 * bytes('x', 1));
  });

  it('a weight gradient of many shards goes right to its place, without a buffer for each shard', () => {
    const body: ShardFunction = ({ x, square }) => a.gradients(a.sum(a.matmul(x, square)), [square]);
    expect(listing(body, 8)).toMatch(/matmul: matmul c=out 0\+0 .* segments=8/);
    expect(listing(body, 8)).not.toContain('treeSum');
  });
});

describe('index limits', () => {
  it('name the field, the op and the number of classes', () => {
    const { indexLimits } = compileFunction(
      ({ x, label }) => [a.sum(a.crossEntropyRows(x, a.reshape(label, [ROWS])))],
      1,
    );
    expect(indexLimits).toEqual([
      { field: 'label', op: expect.stringContaining('rossEntropy'), limit: WIDTH },
    ]);
  });

  it('are only for fields', () => {
    const { indexLimits } = compileFunction(({ x }) => [a.sum(a.crossEntropyRows(x, a.argmax(x)))], 1);
    expect(indexLimits).toEqual([]);
  });
});

describe('what cannot be compiled', () => {
  const traced = (body: (w: a.Tensor, g: a.Tensor) => a.Tensor) => {
    const trace = new a.Trace();
    const [w, g] = ['w', 'g'].map((name) => trace.input('scalar', name, { shape: [8], dtype: 'f32' }));
    const node = trace.nodeOf(a.withTrace(trace, () => body(w!, g!)));
    return (segments = 1) =>
      compile({
        segments,
        outputs: [{ node, place: { region: 'w', offset: 0 }, reduce: 'none' }],
        bind: ({ name }) => ({ kind: 'memory', region: name, offset: 0 }),
        journal: { state: { region: 'journal', offset: 0 }, tick: { region: 'record', offset: 0 } },
      });
  };

  it.each([0, -1, 1.5, Number.NaN])('%s shards', (segments) => {
    expect(() => traced((w, g) => a.sub(w, g))(segments)).toThrow(CompileError);
    expect(() => traced((w, g) => a.sub(w, g))(segments)).toThrow(
      `compile: got ${segments} segments, expected an integer of at least 1`,
    );
  });
});
