/** Functions over a shard's batch, fixed or drawn at random, run op by op and as compiled programs. */
import * as a from '@lockstep/autograd';
import {
  type Address,
  Arena,
  createMemory,
  HEAP_BASE,
  type KernelVariant,
  loadKernels,
  loadProgram,
} from '@lockstep/kernels';
import { type CompiledProgram, compile, type Output } from '../src/index.ts';

/** What a shard's function works on. */
export interface Inputs {
  /** Of the shard: [ROWS, WIDTH], [ROWS, 1] and i32 [ROWS] from 0 to WIDTH − 1. */
  readonly x: a.Tensor;
  readonly y: a.Tensor;
  readonly label: a.Tensor;
  /** Parameters: [WIDTH, WIDTH], [WIDTH], []. */
  readonly square: a.Parameter;
  readonly vector: a.Parameter;
  readonly scalar: a.Parameter;
}

/** Gives what is summed over shards. */
export type ShardFunction = (inputs: Inputs) => readonly a.Tensor[];

export const ROWS = 5;
export const WIDTH = 4;
const fields = {
  x: { shape: [ROWS, WIDTH], dtype: 'f32' },
  y: { shape: [ROWS, 1], dtype: 'f32' },
  label: { shape: [ROWS], dtype: 'i32' },
} as const satisfies Record<string, a.Spec>;
type Field = keyof typeof fields;

const SEED = 42;
const STEP = 7;
const FIRST_SHARD = 3;

/** Spread over (−1, 1) by the golden ratio. */
const spread = (size: number, seed: number): Float32Array =>
  Float32Array.from({ length: size }, (_, i) => 2 * ((seed * 0.7548776662 + i * 0.6180339887) % 1) - 1);

const parameter = (shape: a.Shape, seed: number): a.Parameter =>
  new a.Parameter(spread(a.sizeOf(shape), seed), shape);

const parameters = {
  square: parameter([WIDTH, WIDTH], 1),
  vector: parameter([WIDTH], 2),
  scalar: parameter([], 3),
};

/** The numbers of a field in `segments` shards, one after the other. */
function column(field: Field, segments: number): a.TensorData {
  const { shape, dtype } = fields[field];
  const size = a.sizeOf(shape) * segments;
  if (dtype === 'i32') return Int32Array.from({ length: size }, (_, i) => (i * 7 + 3) % WIDTH);
  return spread(size, field === 'x' ? 4 : 5);
}

const bytesOf = (data: a.TensorData | Float32Array): string => {
  // One bit pattern for NaN, whose sign depends on the machine.
  const canonical = data instanceof Float32Array ? data.map((x) => (Number.isNaN(x) ? Number.NaN : x)) : data;
  return Buffer.from(canonical.buffer, canonical.byteOffset, canonical.byteLength).toString('hex');
};

/** The shard tree (design §3), written down once more. */
function tree<T>(values: readonly T[], add: (left: T, right: T) => T): T {
  if (values.length === 1) return values[0]!;
  const half = 2 ** (31 - Math.clz32(values.length - 1));
  return add(tree(values.slice(0, half), add), tree(values.slice(half), add));
}

/** Results of the function, op by op, shard by shard, added by the tree; as bytes. */
export function eagerly(body: ShardFunction, segments: number): string[] {
  const shards = Array.from({ length: segments }, (_, shard) => {
    const tensors = Object.entries(fields).map(([name, spec]) => {
      const size = a.sizeOf(spec.shape);
      const data = column(name as Field, segments).slice(shard * size, (shard + 1) * size);
      return [name, a.tensor(data, spec)];
    });
    const inputs = { ...(Object.fromEntries(tensors) as Record<Field, a.Tensor>), ...parameters };
    return a.withRandom({ seed: SEED, step: STEP, shard: FIRST_SHARD + shard }, () => body(inputs));
  });
  return a.noGrad(() =>
    shards[0]!.map((_, i) => {
      const added = tree(
        shards.map((shard) => shard[i]!),
        (left, right) => a.add(left, right),
      );
      return bytesOf(added.data());
    }),
  );
}

export interface CompiledFunction extends CompiledProgram {
  readonly outputs: readonly Output[];
}

/** Traces and compiles the function; output i goes to the region `out i`. */
export function compileFunction(body: ShardFunction, segments: number, fuse = true): CompiledFunction {
  const trace = new a.Trace();
  const tensors = Object.entries(fields).map(([name, spec]) => [name, trace.input('field', name, spec)]);
  const results = a.withTrace(trace, () =>
    body({ ...(Object.fromEntries(tensors) as Record<Field, a.Tensor>), ...parameters }),
  );
  const outputs = results.map((result, i) => ({
    node: trace.nodeOf(result),
    place: { region: `out ${i}`, offset: 0 },
    reduce: 'tree' as const,
  }));
  const names = new Map(
    Object.entries(parameters).map(([name, value]) => [trace.parameters.get(value), name]),
  );
  const compiled = compile({
    segments,
    outputs,
    fuse,
    bind: (node) => {
      if (node.input === 'parameter') return { kind: 'memory', region: names.get(node)!, offset: 0 };
      const source = (region: (name: string) => Address, count: number): a.View =>
        a.contiguousView(region(node.name), [count, ...node.shape]);
      return {
        kind: 'field',
        emit: (emitter, region, target, count) => a.copyView(emitter, source(region, count), target),
      };
    },
  });
  return { ...compiled, outputs };
}

const memory = createMemory(HEAP_BASE + (1 << 20));

/** Results of a compiled function, as bytes. Memory that it does not write first is full of NaN. */
export function run(
  { program, constants, outputs }: CompiledFunction,
  segments: number,
  kernels: KernelVariant = 'wasm',
): string[] {
  const arena = new Arena(loadKernels({ kernels, memory }));
  const contents: Record<string, a.TensorData | Uint32Array | Uint8Array> = {
    record: Uint32Array.of(...a.seedWords(SEED), STEP, 0),
    unit: Uint32Array.of(FIRST_SHARD, 0),
    constants,
  };
  for (const name of Object.keys(fields)) contents[name] = column(name as Field, segments);
  for (const [name, value] of Object.entries(parameters)) contents[name] = value.data();
  const addresses = program.regions.map(({ name, bytes }) => {
    const address = arena.allocate(bytes);
    const content = contents[name];
    if (!content) arena.u8(address, bytes).fill(0xff);
    else arena.u8(address, bytes).set(new Uint8Array(content.buffer, content.byteOffset, bytes));
    return [name, address] as const;
  });
  const bind = Object.fromEntries(addresses);
  loadProgram(arena, program, bind).run();
  return outputs.map(({ node, place }) => {
    const size = a.sizeOf(node.shape);
    const address = bind[place.region]!;
    return bytesOf(Float32Array.from(arena.f32(address, size)));
  });
}

/** The bytes that a region takes, 0 if the program has none of that name. */
export const regionBytes = ({ program }: CompiledProgram, name: string): number =>
  program.regions.find((region) => region.name === name)?.bytes ?? 0;

/** Ops that a random function is made of; an OpError means that the operands do not fit. */
const makers: readonly ((p: a.Tensor, q: a.Tensor, r: a.Tensor) => a.Tensor)[] = [
  (p, q) => a.add(p, q),
  (p, q) => a.sub(p, q),
  (p, q) => a.mul(p, q),
  (p, q) => a.div(p, a.add(a.square(q), 1)),
  (p, q) => a.maximum(p, q),
  (p, q, r) => a.where(a.gt(p, q), r, p),
  (p) => a.tanh(p),
  (p) => a.sigmoid(p),
  (p) => a.exp(a.minimum(p, 2)),
  (p) => a.sqrt(a.add(a.abs(p), 0.1)),
  (p) => a.mul(a.relu(p), 0.75),
  (p) => a.sum(p, -1),
  (p) => a.sum(p, 0, { keepDims: true }),
  (p) => a.mean(p, -1, { keepDims: true }),
  (p) => a.max(p, -1, { keepDims: true }),
  (p) => a.mean(p),
  (p) => a.transpose(p),
  (p) => a.reshape(p, [p.size]),
  (p) => a.reshape(p, [1, p.size]),
  (p) => a.unsqueeze(p, 0),
  (p) => a.expand(a.unsqueeze(p, 0), [3, ...p.shape]),
  (p) => a.permute(p, [...p.shape.keys()].reverse()),
  (p, q) => a.matmul(p, q),
  (p, q) => a.matmul(p, q, { transB: true }),
  (p, q) => a.matmul(p, q, { transA: true }),
  (p) => a.softmax(p),
  (p) => a.logSumExp(p),
  (p) => a.mul(p, a.rand(p.shape)),
  (p) => a.detach(p),
];

/** One op of a random function: which, and on which of the values so far. */
export type Choice = readonly [op: number, p: number, q: number, r: number];

const MAX_SIZE = 400;

/** A function from a list of choices; sums over it, and the gradients of one of them. */
export const drawnFunction =
  (choices: readonly Choice[]): ShardFunction =>
  ({ x, y, label, square, vector, scalar }) => {
    const values: a.Tensor[] = [
      x,
      y,
      a.cast(label, 'f32'),
      square,
      vector,
      scalar,
      a.tensor([0.5, -1, 2, 3]),
    ];
    for (const [op, ...operands] of choices) {
      const [p, q, r] = operands.map((operand) => values.at(-1 - (operand % values.length))!);
      try {
        const value = makers[op % makers.length]!(p!, q!, r!);
        if (value.size <= MAX_SIZE) values.push(value);
      } catch (error) {
        if (!(error instanceof a.OpError)) throw error;
      }
    }
    const loss = values.slice(-3).reduce((total, value) => a.add(total, a.sum(a.sigmoid(value))), a.mean(y));
    const total = a.add(loss, a.sum(a.mul(square, a.mul(vector, scalar))));
    return [total, values.at(-1)!, ...a.gradients(total, [square, vector, scalar])];
  };
