/** Tracing: the same functions give a graph; what needs numbers fails with a reason. */
import { describe, expect, it } from 'vitest';
import * as a from '../index.ts';

const spec = (shape: a.Shape, dtype: a.DType = 'f32'): a.Spec => ({ shape, dtype });

/** Traces `body` on one f32 field [4, 3]. */
function trace<T>(body: (x: a.Tensor) => T): { trace: a.Trace; result: T } {
  const recorder = new a.Trace();
  const x = recorder.input('field', 'x', spec([4, 3]));
  return { trace: recorder, result: a.withTrace(recorder, () => body(x)) };
}

const kinds = ({ nodes }: a.Trace): string[] =>
  nodes.map((node) => (node.kind === 'op' ? node.op.name : node.kind));

describe('tracing', () => {
  it('records ops instead of running them', () => {
    const { trace: recorded, result } = trace((x) => a.sum(a.relu(x)));
    expect(kinds(recorded)).toEqual(['input', 'relu', 'sum', 'reshape']);
    expect(result.isTraced).toBe(true);
    expect(result.shape).toEqual([]);
  });

  it('numbers nodes in the order of their inputs', () => {
    const { trace: recorded } = trace((x) => a.grad((y) => a.sum(a.mul(y, a.exp(y))))(x));
    recorded.nodes.forEach((node, i) => {
      expect(node.id).toBe(i);
      if (node.kind === 'op') for (const input of node.inputs) expect(input.id).toBeLessThan(i);
    });
  });

  it('takes a parameter once, an eager tensor as one constant', () => {
    const w = new a.Parameter(Float32Array.of(1, 2, 3), [3]);
    const c = a.tensor([4, 5, 6]);
    const { trace: recorded } = trace((x) => x.mul(w).add(w).mul(c).add(c));
    expect([...recorded.parameters.keys()]).toEqual([w]);
    expect(recorded.nodes.filter((node) => node.kind === 'constant')).toHaveLength(1);
  });

  it('keeps a parameter a parameter through detach, grad and customGradient', () => {
    const w = new a.Parameter(Float32Array.of(1, 2, 3), [3]);
    const same = a.customGradient(
      (x) => x,
      (g) => [g],
    );
    for (const use of [a.detach, same, (x: a.Tensor) => a.grad((y) => a.sum(y.mul(y)))(x)[0]!]) {
      const { trace: recorded } = trace((x) => x.mul(use(w)));
      expect([...recorded.parameters.keys()]).toEqual([w]);
      expect(kinds(recorded)).not.toContain('constant');
    }
  });

  it('labels nodes by the module path, the backward ones too', () => {
    const w = new a.Parameter(Float32Array.of(1, 2, 3), [3]);
    const { trace: recorded } = trace((x) => {
      const y = a.withScope('net', () => a.withScope('0', () => x.mul(w)));
      return a.gradients(a.sum(y), [w]);
    });
    const labels = recorded.nodes.map((node) => node.label);
    expect(labels).toContain('net.0/mul');
    expect(labels.some((label) => label.startsWith('grad(net.0/mul)'))).toBe(true);
  });

  it('gives each random tensor a stream of its own, the same in every trace', () => {
    const streams = (): unknown[] =>
      trace(() => [a.rand([2]), a.rand([2])]).trace.nodes.flatMap((node) =>
        node.kind === 'op' ? [(node.attrs as { stream: number }).stream] : [],
      );
    expect(streams()).toEqual([0, 1]);
    expect(streams()).toEqual([0, 1]);
  });

  it('checks shapes at once', () => {
    expect(() => trace((x) => a.matmul(x, x))).toThrow('matmul: got f32[4, 3] and f32[4, 3]');
  });

  it('leaves the context as it was, also after an error', () => {
    expect(() => trace(() => a.noGrad(() => a.withTraining(false, () => a.add(1, 2))))).toThrow(a.OpError);
    expect(a.context()).toMatchObject({ trace: undefined, recording: true, training: true, scope: '' });
  });
});

describe('while tracing there are no numbers', () => {
  const branch = (x: a.Tensor): a.Tensor => ((a.sum(x) as unknown as number) > 1 ? x : a.neg(x));
  it.each([
    ['item()', (x: a.Tensor) => a.sum(x).item()],
    ['data()', (x: a.Tensor) => x.data()],
    ['if (loss > 1)', branch],
    ['a number of it', (x: a.Tensor) => Number(a.sum(x))],
  ])('%s', (_, body) => {
    expect(() => trace<unknown>(body)).toThrow(a.OpError);
    expect(() => trace<unknown>(body)).toThrow(
      /not known while the step is traced.*where\(condition, a, b\)/s,
    );
  });

  it('but they can be shown', () => {
    expect(trace((x) => `${x}`).result).toBe('Tensor(f32[4, 3], traced)');
  });

  it('refuses a tensor of an earlier trace', () => {
    const kept = trace((x) => a.exp(x)).result;
    expect(() => trace((x) => x.add(kept))).toThrow('add: got a tensor of an earlier trace');
    expect(() => a.add(kept, 1)).toThrow(a.OpError);
  });
});
