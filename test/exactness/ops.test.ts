/**
 * Every op, with its gradients, compiled for three shards at once and for one shard at a time: the same bits. Inputs differ
 * between the shards, or are alike in all of them, as parameters are; then their gradients are summed by the tree.
 */
import { compile } from '@lockstep/compiler';
import { Arena, createMemory, loadKernels, loadProgram } from '@lockstep/kernels';
import { describe, expect, it } from 'vitest';
import { autograd as a, numbers, type OpCase, opTests } from '../../packages/autograd/test/cases.ts';
import { compositeTests } from '../../packages/autograd/test/composites.ts';

const SHARDS = 3;
const kernels = loadKernels({ memory: createMemory(64 << 20) });

/** Word that no result has (a NaN of a rare payload). */
const UNTOUCHED = 0x7fabcdef;

interface Result {
  readonly node: a.GraphNode;
  readonly reduce: 'none' | 'tree';
}

interface Traced {
  readonly results: readonly Result[];
  /** Input node → its numbers for each shard, or for all. */
  readonly data: ReadonlyMap<unknown, readonly Float32Array[]>;
}

const numbersOf = (x: a.Tensor, shard: number): Float32Array =>
  Float32Array.from(x.data(), (value) => value * (1 - shard / 64));

/** The case with its gradients; `shared[i]`: input i is alike in all shards. */
function trace({ inputs, call }: OpCase, shared: readonly boolean[], differentiable: boolean): Traced {
  const graph = new a.Trace();
  const data = new Map<unknown, Float32Array[]>();
  const results: Result[] = [];
  a.withTrace(graph, () => {
    const xs = inputs.map((x, i) => {
      const input = graph.input(shared[i] ? 'parameter' : 'field', `x${i}`, x);
      const shards = shared[i] ? [0] : [...Array(SHARDS).keys()];
      data.set(
        input.value,
        shards.map((shard) => numbersOf(x, shard)),
      );
      return input;
    });
    const loss = (...ys: a.Tensor[]): a.Tensor => {
      const y = call(...ys);
      results.push({ node: graph.nodeOf(y), reduce: 'none' });
      return a.sum(a.mul(y, numbers(y.shape, -1, 1, 9)));
    };
    if (!differentiable || xs.length === 0) {
      results.push({ node: graph.nodeOf(call(...xs)), reduce: 'none' });
      return;
    }
    a.grad(loss)(...xs).forEach((g, i) => {
      results.push({ node: graph.nodeOf(g), reduce: shared[i] ? 'tree' : 'none' });
    });
  });
  return { results, data };
}

/** The words of each result of a program for shards first … first + segments − 1. */
function run({ results, data }: Traced, first: number, segments: number, fuse: boolean): Uint32Array[] {
  const names = new Map([...data.keys()].map((node, i) => [node, `input ${i}`]));
  const { program, constants } = compile({
    segments,
    fuse,
    outputs: results.map(({ node, reduce }, i) => ({
      node: node as never,
      reduce,
      place: { region: `result ${i}`, offset: 0 },
    })),
    bind: (node) => {
      const region = names.get(node)!;
      if (data.get(node)!.length === 1) return { kind: 'memory', region, offset: 0 };
      return {
        kind: 'field',
        emit: (emit, regionOf, target, count) =>
          emit.elementwise({
            dims: [count * node.shape.reduce((product, n) => product * n, 1)],
            inputs: [{ address: regionOf(region) }],
            steps: [],
            outputs: [{ address: target, value: 0 }],
          }),
      };
    },
  });
  const arena = new Arena(kernels);
  const bound: Record<string, number> = {};
  const put = (name: string, words: Uint32Array): number => {
    const address = arena.allocate(Math.max(4, words.byteLength));
    bound[name] = address;
    arena.u8(address, words.byteLength).set(new Uint8Array(words.buffer, words.byteOffset, words.byteLength));
    return address;
  };
  for (const [node, name] of names) {
    const parts =
      data.get(node)!.length === 1 ? data.get(node)! : data.get(node)!.slice(first, first + segments);
    put(name, new Uint32Array(Float32Array.from(parts.flatMap((part) => [...part])).buffer));
  }
  const padded = new Uint8Array(Math.ceil(constants.length / 4) * 4);
  padded.set(constants);
  put('constants', new Uint32Array(padded.buffer));
  put('record', Uint32Array.of(7, 11, 5, 0));
  put('unit', Uint32Array.of(first, 0));
  const places = results.map(({ node, reduce }, i) => {
    const size = a.sizeOf(node.shape) * (reduce === 'tree' ? 1 : segments);
    return { size, at: put(`result ${i}`, new Uint32Array(size).fill(UNTOUCHED)) };
  });
  loadProgram(arena, program, bound).run();
  return places.map(({ size, at }) => Uint32Array.from(arena.i32(at, size)));
}

const canonical = (words: Uint32Array): Uint32Array =>
  words.map((word) => ((word & 0x7fffffff) > 0x7f800000 && word !== UNTOUCHED ? 0x7fc00000 : word));

function add(p: Uint32Array, q: Uint32Array): Uint32Array {
  const [x, y] = [new Float32Array(p.buffer), new Float32Array(q.buffer)];
  return new Uint32Array(x.map((value, i) => value + y[i]!).buffer);
}

/** What the shards one at a time give for the three at once. */
function joined(parts: readonly Uint32Array[], reduce: 'none' | 'tree', alike: boolean): Uint32Array {
  const [p, q, r] = parts as [Uint32Array, Uint32Array, Uint32Array];
  if (reduce === 'tree') return add(add(p, q), r);
  return Uint32Array.from(alike ? p : [...p, ...q, ...r]);
}

const tests = Object.entries({ ...opTests, ...compositeTests });
describe.each(tests)('%s', (_, { cases, differentiable = true }) => {
  it.each(cases.map((c) => [c.title, c] as const))('%s', (_, opCase) => {
    const gradients = differentiable === true && !opCase.forwardOnly;
    const masks = opCase.inputs.map((_, i) => opCase.inputs.map((_, j) => i === j));
    for (const shared of [opCase.inputs.map(() => false), ...masks]) {
      const traced = trace(opCase, shared, gradients);
      const separate = [0, 1, 2].map((shard) => run(traced, shard, 1, true));
      const together = run(traced, 0, SHARDS, true);
      const unfused = run(traced, 0, SHARDS, false);
      traced.results.forEach(({ reduce }, i) => {
        const whole = together[i]!;
        const size = whole.length / (reduce === 'tree' ? 1 : SHARDS);
        // What no shard changes is computed once.
        const alike =
          reduce === 'none' && whole.length > 0 && whole.slice(size).every((word) => word === UNTOUCHED);
        const expected = joined(
          separate.map((result) => result[i]!),
          reduce,
          alike,
        );
        const found = canonical(alike ? whole.slice(0, size) : whole);
        const what = `result ${i}, shared ${shared}`;
        expect(found, what).toEqual(canonical(expected));
        expect(canonical(alike ? unfused[i]!.slice(0, size) : unfused[i]!), what).toEqual(found);
      });
    }
  });
});
