/**
 * Eager execution: each op becomes a program of its own, by the same `steps` and `lower` as the compiler uses, and
 * runs at once. So eager and compiled training give the same bits. Values live in ordinary typed arrays that the
 * garbage collector owns; they are copied into the kernels' memory for the call. Speed is the compiler's business.
 */
import {
  type Address,
  align,
  createMemory,
  ELEMENT_BYTES,
  HEAP_BASE,
  type KernelChoice,
  type Kernels,
  loadKernels,
  type Program,
  ProgramBuilder,
  runReference,
  type SharedMemory,
  STACK_BYTES,
} from '@lockstep/kernels';
import { context } from './context.ts';
import type { AnyOp, Op } from './op.ts';
import { type Spec, sizeOf } from './shape.ts';
import type { Tensor, TensorData } from './tensor.ts';
import { contiguousView, copyView, type Emitter, expandedStrides, materialize, type View } from './view.ts';

export function executeEagerly(op: AnyOp, inputs: readonly Tensor[], attrs: never, spec: Spec): TensorData {
  const emit = new EagerEmitter(inputs, spec);
  emitOp(emit, op, attrs, inputs, emit.output, emit.inputs);
  const program = emit.builder.build();
  const values = inputs.map((input) => input.data());
  return context().precision === 'float64'
    ? runInFloat64(program, values, spec)
    : machine().run(program, values, spec);
}

function emitOp(
  emit: Emitter,
  op: Op<never>,
  attrs: never,
  specs: readonly Spec[],
  output: View,
  inputs: View[],
) {
  switch (op.kind) {
    case 'elementwise': {
      const steps = op.steps(specs, attrs);
      emit.elementwise({
        dims: output.shape,
        inputs: inputs.map((input) => ({
          address: input.address,
          strides: expandedStrides(input, output.shape),
        })),
        steps,
        outputs: [{ address: output.address, value: inputs.length + steps.length - 1 }],
      });
      return;
    }
    case 'view': {
      const view = op.view(inputs[0]!, attrs, 0) ?? op.view(materialize(emit, inputs[0]!), attrs, 0);
      copyView(emit, view!, output.address);
      return;
    }
    case 'kernel':
      op.lower(emit, output, inputs, attrs);
  }
}

/** Regions: the inputs, then these. */
class EagerEmitter implements Emitter {
  readonly builder = new ProgramBuilder();
  readonly inputs: View[];
  readonly output: View;
  readonly record: Address;
  readonly unit: Address;
  readonly #temporary: number;
  readonly #scratch: number;
  #temporaryBytes = 0;

  constructor(inputs: readonly Tensor[], spec: Spec) {
    const region = (name: string, bytes: number, access: 'read' | 'write'): Address => {
      const id = this.builder.addRegion(name, access);
      this.builder.reserve(id, bytes);
      return { region: id, offset: 0 };
    };
    this.inputs = inputs.map((input, i) =>
      contiguousView(region(`input ${i}`, input.size * ELEMENT_BYTES, 'read'), input.shape),
    );
    this.output = contiguousView(region('output', sizeOf(spec.shape) * ELEMENT_BYTES, 'write'), spec.shape);
    this.record = region('record', 16, 'read');
    this.unit = region('unit', 8, 'read');
    this.#temporary = region('temporary', 0, 'write').region;
    this.#scratch = region('scratch', 0, 'write').region;
  }

  call: Emitter['call'] = (name, values) => this.builder.call(name, values);

  elementwise: Emitter['elementwise'] = (spec) =>
    this.builder.elementwise({ ...spec, scratch: { region: this.#scratch, offset: 0 } });

  temporary(bytes: number): Address {
    const offset = this.#temporaryBytes;
    this.#temporaryBytes += align(bytes);
    this.builder.reserve(this.#temporary, this.#temporaryBytes);
    return { region: this.#temporary, offset };
  }

  scratch(bytes: number): Address {
    this.builder.reserve(this.#scratch, bytes);
    return { region: this.#scratch, offset: 0 };
  }
}

const recordWords = (): number[] => {
  const { generator } = context();
  return [...generator.seed, generator.step, 0];
};

function runInFloat64(program: Program, values: readonly TensorData[], spec: Spec): TensorData {
  const regions = program.regions.map((region) => new Float64Array(Math.ceil(region.bytes / ELEMENT_BYTES)));
  values.forEach((value, i) => {
    regions[i]!.set(value);
  });
  regions[values.length + 1]!.set(recordWords());
  regions[values.length + 2]!.set([context().generator.shard, 0]);
  runReference(program, regions);
  const output = regions[values.length]!.slice(0, sizeOf(spec.shape));
  return spec.dtype === 'f32' ? output : Int32Array.from(output);
}

/** One memory for all eager calls of this thread; nothing in it outlives a call. */
class EagerMachine {
  readonly kernels: Kernels;
  readonly #memory: SharedMemory;

  constructor(choice: KernelChoice) {
    this.#memory = createMemory(HEAP_BASE + STACK_BYTES + (1 << 20));
    this.kernels = loadKernels({ kernels: choice, memory: this.#memory, stackTop: HEAP_BASE + STACK_BYTES });
  }

  run(program: Program, values: readonly TensorData[], spec: Spec): TensorData {
    let end = HEAP_BASE + STACK_BYTES;
    const take = (bytes: number): number => {
      const start = end;
      end += align(bytes);
      return start;
    };
    const code = take(program.code.byteLength);
    const bases = take(program.regions.length * 4);
    const addresses = program.regions.map((region) => take(region.bytes));
    this.#grow(end);
    const { buffer } = this.#memory;
    new Int32Array(buffer, code, program.code.length).set(program.code);
    new Uint32Array(buffer, bases, addresses.length).set(addresses);
    values.forEach((value, i) => {
      viewOn(buffer, value instanceof Int32Array, addresses[i]!, value.length).set(value);
    });
    new Uint32Array(buffer, addresses[values.length + 1], 4).set(recordWords());
    new Uint32Array(buffer, addresses[values.length + 2], 2).set([context().generator.shard, 0]);
    this.kernels.run(code, 0, program.code.length, bases);
    const output = viewOn(buffer, spec.dtype !== 'f32', addresses[values.length]!, sizeOf(spec.shape));
    // slice() of a view on shared memory would keep it shared: copy into memory of our own.
    return output instanceof Int32Array ? Int32Array.from(output) : Float32Array.from(output);
  }

  #grow(bytes: number): void {
    const missing = bytes - this.#memory.buffer.byteLength;
    if (missing > 0) this.#memory.grow(Math.ceil(missing / 65536));
  }
}

const viewOn = (buffer: SharedArrayBuffer, integer: boolean, address: number, length: number) =>
  integer ? new Int32Array(buffer, address, length) : new Float32Array(buffer, address, length);

const machines = new Map<KernelChoice, EagerMachine>();
let choice: KernelChoice = 'auto';

function machine(): EagerMachine {
  let found = machines.get(choice);
  if (!found) {
    found = new EagerMachine(choice);
    machines.set(choice, found);
  }
  return found;
}

/** Chooses the kernels of eager execution in this thread (default `auto`); the bits are the same. */
export function setEagerKernels(kernels: KernelChoice): void {
  choice = kernels;
}
