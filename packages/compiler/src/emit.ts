/**
 * Third pass: calls. Ops lower themselves against buffers whose places are not known yet; when all calls are there,
 * so are the buffers' lives, and the addresses are filled in.
 */
import {
  contiguousView,
  copyView,
  type Emitter,
  expandedStrides,
  type InputNode,
  isContiguous,
  materialize,
  sizeOf,
  type View,
} from '@lockstep/autograd';
import {
  type Address,
  align,
  type Chain,
  type ChainStep,
  ELEMENT_BYTES,
  floatBits,
  guardKinds,
  type InstructionName,
  type InstructionValues,
  type Program,
  ProgramBuilder,
} from '@lockstep/kernels';
import { sourceOf, type Unit } from './fuse.ts';
import type { CompileOptions, Guard, InputBinding, Journal, Output, Place } from './options.ts';
import { type Life, place } from './place.ts';
import type { OpValue, Value, Values } from './values.ts';

type Resolve = (address: Address) => Address;

/** Writes one call into the builder once addresses are known. */
interface PendingCall {
  readonly label: string;
  readonly write: (resolve: Resolve) => void;
}

/** Equal for steps that compute the same. */
const stepKey = ({ op, args, imm, bits }: ChainStep): string =>
  [op, args, imm === undefined ? '' : floatBits(imm), bits].join(' ');

/** Buffers get region numbers from here on until they are placed; below are the program's own regions. */
const VIRTUAL = 1 << 20;

export class Lowering implements Emitter {
  readonly record: Address;
  readonly unit: Address;
  readonly #segments: number;
  readonly #bindingOf: (node: InputNode) => InputBinding;
  /** Regions that the program writes to. */
  readonly #written: ReadonlySet<string>;
  readonly #builder = new ProgramBuilder();
  readonly #regions = new Map<string, number>();
  readonly #views = new Map<Value, View>();
  /** Where a value must end up, if it can be computed there. */
  readonly #pinned = new Map<Value, Address>();
  /** Values that a tree over segments consumes and nothing else. */
  readonly #summed = new Set<Value>();
  readonly #delivered = new Set<Output>();
  readonly #lives: Life[] = [];
  readonly #calls: PendingCall[] = [];
  readonly #constants: { readonly data: Uint8Array; readonly offset: number }[] = [];
  #constantBytes = 0;
  #label = '';

  constructor(
    segments: number,
    bindingOf: (node: InputNode) => InputBinding,
    { outputs, journal, guard }: Pick<CompileOptions, 'outputs' | 'journal' | 'guard'>,
  ) {
    this.#segments = segments;
    this.#bindingOf = bindingOf;
    const written = [
      ...outputs.map((output) => output.place),
      ...(journal ? [journal.state] : []),
      ...(guard ? [guard.halt] : []),
    ];
    this.#written = new Set(['arena', 'scratch', 'journal scratch', ...written.map((place) => place.region)]);
    this.record = { region: this.#region('record'), offset: 0 };
    this.unit = { region: this.#region('unit'), offset: 0 };
    if (guard) this.#guard(guard);
  }

  #guard({ kind, halt, tick, values, count, stride }: Guard): void {
    this.#label = 'guard';
    this.call('guard', {
      halt: this.#place(halt),
      tick: this.#place(tick),
      values: this.#place(values),
      count,
      stride,
      kind: guardKinds[kind],
    });
  }

  // ─── what ops call ─────────────────────────────────────────────────────────────────────────────────────────────

  call<N extends InstructionName>(name: N, values: InstructionValues<N>): void {
    const fields = values as Record<string, number | Address>;
    for (const value of Object.values(fields)) if (typeof value === 'object') this.#touch(value);
    this.#push((resolve) => {
      const entries = Object.entries(fields).map(([field, value]) => [
        field,
        typeof value === 'object' ? resolve(value) : value,
      ]);
      this.#builder.call(name, Object.fromEntries(entries) as InstructionValues<N>);
    });
  }

  elementwise(chain: Omit<Chain, 'scratch'>): void {
    // Nothing to compute; and buffers of no size share their addresses, which chains take for computing in place.
    if (chain.dims.includes(0) && !chain.journal) return;
    for (const { address } of [...chain.inputs, ...chain.outputs]) this.#touch(address);
    // A journaled chain that was cut off copies a tile from its scratch when it runs again: nothing else may write there.
    const scratch = { region: this.#region(chain.journal ? 'journal scratch' : 'scratch'), offset: 0 };
    this.#push((resolve) =>
      this.#builder.elementwise({
        ...chain,
        inputs: chain.inputs.map((input) => ({ ...input, address: resolve(input.address) })),
        outputs: chain.outputs.map((output) => ({ ...output, address: resolve(output.address) })),
        scratch,
      }),
    );
  }

  temporary(bytes: number): Address {
    this.#lives.push({ bytes, first: this.#calls.length, last: this.#calls.length });
    return { region: VIRTUAL + this.#lives.length - 1, offset: 0 };
  }

  scratch(bytes: number): Address {
    const region = this.#region('scratch');
    this.#builder.reserve(region, bytes);
    return { region, offset: 0 };
  }

  // ─── units ─────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Lets values be computed right where the outputs must be, before any unit is lowered. */
  pin(outputs: readonly Output[], values: Values): void {
    const users = new Map<Value, number>();
    const use = (value: Value): void => {
      const source = sourceOf(value);
      users.set(source, (users.get(source) ?? 0) + 1);
    };
    for (const value of values.order) {
      if (value.kind === 'op' && value.op.kind !== 'view') value.inputs.forEach(use);
    }
    for (const output of outputs) use(values.of.get(output.node)!);
    for (const output of outputs) {
      const value = values.of.get(output.node)!;
      if (value.kind !== 'op' || value.op.kind === 'view' || this.#pinned.has(value)) continue;
      const asIs = output.reduce === 'none' || this.#segments === 1;
      const summable = value.op.kind === 'kernel' && value.op.lowerTreeSum !== undefined;
      if (!asIs && value.batched && summable && users.get(value) === 1) this.#summed.add(value);
      else if (!asIs) continue;
      this.#pinned.set(value, this.#place(output.place));
    }
  }

  lower(unit: Unit, usedOutside: (value: Value) => boolean): void {
    const [first] = unit.members as [OpValue];
    this.#label = unit.members.map((member) => member.label).join(' + ');
    if (first.op.kind === 'elementwise') this.#lowerChain(unit, usedOutside);
    else this.#lowerKernel(first);
  }

  /**
   * The last call of an update: computes the members and writes the outputs, which are members or known before, tile by
   * tile. See Note [Updates in several chains].
   */
  commit({ members }: Unit, outputs: readonly Output[], values: Values, { state, tick }: Journal): void {
    if (outputs.length === 0) return;
    this.#label = members.length > 0 ? members.map((member) => member.label).join(' + ') : 'commit';
    const results = outputs.map(({ node }) => values.of.get(node)!);
    const { ids, ...chain } = this.#chainOf(members, results, (member) => results.includes(member));
    const written = outputs.map(({ place }, i) => ({
      address: this.#place(place),
      value: ids.get(results[i]!)!,
    }));
    const journal = { journal: this.#place(state), tick: this.#place(tick) };
    this.elementwise({ dims: results[0]!.shape, ...chain, outputs: written, ...journal });
  }

  #lowerKernel(value: OpValue): void {
    const { op, node } = value;
    if (op.kind !== 'kernel') throw new Error(`compile: ${op.name} is not a kernel`);
    const inputs = value.inputs.map((input) => this.#viewOf(input));
    const attrs = node.attrs as never;
    if (this.#summed.has(value)) {
      const output = contiguousView(this.#pinned.get(value)!, [1, ...node.shape]);
      this.#views.set(value, output);
      if (op.lowerTreeSum!(this, output, inputs, attrs)) return;
    }
    const output = this.#allocate(value);
    op.lower(this, output, inputs, attrs);
  }

  #lowerChain({ members }: Unit, usedOutside: (value: Value) => boolean): void {
    const { ids, ...chain } = this.#chainOf(members, members, usedOutside);
    const outputs = members.filter(usedOutside).map((member) => ({
      address: this.#allocate(member).address,
      value: ids.get(member)!,
    }));
    this.elementwise({ dims: members[0]!.shape, ...chain, outputs });
  }

  /** Inputs and steps of a chain that computes its members and knows all `results`; the number of each value. */
  #chainOf(
    members: readonly OpValue[],
    results: readonly Value[],
    isWritten: (member: OpValue) => boolean,
  ): Pick<Chain, 'inputs' | 'steps'> & { readonly ids: ReadonlyMap<Value, number> } {
    const { shape } = results[0]!;
    const inside = new Set<Value>(members);
    const read = [...members.flatMap((member) => member.inputs), ...results];
    const external = [...new Set(read)].filter((input) => !inside.has(input));
    const loaded = external.filter((input) => input.kind !== 'uniform');
    const inputs = loaded.map((input) => {
      const view = this.#viewOf(input);
      return { address: view.address, strides: expandedStrides(view, shape) };
    });
    const ids = new Map<Value, number>(loaded.map((input, i) => [input, i]));
    const steps: ChainStep[] = [];
    const alike = new Map<string, number>();
    const push = (step: ChainStep): number => {
      const value = inputs.length + steps.push(step) - 1;
      alike.set(stepKey(step), value);
      return value;
    };
    // Ops may have steps in common, like elu and its slope: each is computed once.
    const share = (step: ChainStep): number => alike.get(stepKey(step)) ?? push(step);
    for (const input of external) {
      if (input.kind !== 'uniform') continue;
      const constant = input.node.dtype === 'f32' ? { imm: input.value } : { bits: input.value };
      ids.set(input, share({ op: 'constant', args: [], ...constant }));
    }
    for (const member of members) {
      const { op, node } = member;
      if (op.kind !== 'elementwise') throw new Error(`compile: ${op.name} is not elementwise`);
      const known = member.inputs.map((input) => ids.get(input)!);
      const own = op.steps(node.inputs, node.attrs as never);
      own.forEach((step, i) => {
        const mapped = { ...step, args: step.args.map((arg) => known[arg]!) };
        // What is written to memory has a step of its own.
        const isResult = i === own.length - 1 && isWritten(member);
        known.push(isResult ? push(mapped) : share(mapped));
      });
      ids.set(member, known.at(-1)!);
    }
    return { inputs, steps, ids };
  }

  /**
   * Brings those outputs to their places that are not there yet and that `members` (all: undefined) are the sources of. As
   * soon as they can be: whoever waits for a gradient can have it while the next ones are computed.
   */
  deliver(outputs: readonly Output[], values: Values, members?: readonly Value[]): void {
    for (const output of outputs) {
      const { node, place: target, reduce } = output;
      const value = values.of.get(node)!;
      if (this.#delivered.has(output) || (members && !members.includes(sourceOf(value)))) continue;
      this.#delivered.add(output);
      const address = this.#place(target);
      const pinned = this.#pinned.get(value);
      if (pinned && pinned.region === address.region && pinned.offset === address.offset) continue;
      this.#label = `${reduce === 'tree' ? 'sum over shards of ' : ''}${value.label}`;
      const view = this.#viewOf(value);
      if (reduce === 'none') {
        copyView(this, view, address);
        continue;
      }
      const full = materialize(this, view, [this.#segments, ...node.shape]);
      this.call('treeSum', {
        out: address,
        in: full.address,
        segments: this.#segments,
        n: sizeOf(node.shape),
      });
    }
  }

  // ─── memory ────────────────────────────────────────────────────────────────────────────────────────────────────

  #viewOf(value: Value): View {
    const known = this.#views.get(value);
    if (known) return known;
    const view = this.#makeView(value);
    this.#views.set(value, view);
    return view;
  }

  #makeView(value: Value): View {
    switch (value.kind) {
      case 'input': {
        const binding = this.#bindingOf(value.node);
        if (binding.kind === 'memory') return contiguousView(this.#place(binding), value.shape);
        const target = this.#buffer(value.shape);
        const user = this.#label;
        this.#label = value.label;
        binding.emit(this, (name) => ({ region: this.#region(name), offset: 0 }), target, this.#segments);
        this.#label = user;
        return contiguousView(target, value.shape);
      }
      case 'constant':
        return contiguousView(this.#constant(value.node.data), value.shape);
      case 'uniform': {
        const view = contiguousView(this.#buffer(value.shape), value.shape);
        const constant = value.node.dtype === 'f32' ? { imm: value.value } : { bits: value.value };
        this.elementwise({
          dims: value.shape,
          inputs: [],
          steps: [{ op: 'constant', args: [], ...constant }],
          outputs: [{ address: view.address, value: 0 }],
        });
        return view;
      }
      case 'op': {
        const { op } = value;
        if (op.kind !== 'view') throw new Error(`compile: ${value.label} is used before it is computed`);
        const input = this.#viewOf(value.inputs[0]!);
        const attrs = value.node.attrs as never;
        const view = op.view(input, attrs, 1) ?? op.view(this.#copy(input), attrs, 1);
        return view!;
      }
    }
  }

  #copy(view: View): View {
    if (isContiguous(view)) return view;
    const address = this.#buffer(view.shape);
    copyView(this, view, address);
    return contiguousView(address, view.shape);
  }

  /** Memory of an op's result. */
  #allocate(value: OpValue): View {
    const view = contiguousView(this.#pinned.get(value) ?? this.#buffer(value.shape), value.shape);
    this.#views.set(value, view);
    return view;
  }

  #buffer(shape: readonly number[]): Address {
    return this.temporary(sizeOf(shape) * ELEMENT_BYTES);
  }

  #touch({ region }: Address): void {
    const life = this.#lives[region - VIRTUAL];
    if (life) life.last = Math.max(life.last, this.#calls.length);
  }

  #constant(data: ArrayBufferView & { readonly length: number }): Address {
    const offset = this.#constantBytes;
    const words = data instanceof Float64Array ? Float32Array.from(data) : data;
    this.#constants.push({ data: new Uint8Array(words.buffer, words.byteOffset, words.byteLength), offset });
    this.#constantBytes += align(words.byteLength);
    return { region: this.#region('constants'), offset };
  }

  #region(name: string): number {
    let region = this.#regions.get(name);
    if (region === undefined) {
      region = this.#builder.addRegion(name, this.#written.has(name) ? 'write' : 'read');
      this.#regions.set(name, region);
    }
    return region;
  }

  #place(target: Place): Address {
    return { region: this.#region(target.region), offset: target.offset };
  }

  #push(write: (resolve: Resolve) => void): void {
    this.#calls.push({ label: this.#label, write });
  }

  /** After all calls: places the buffers. */
  finish(): { program: Program; constants: Uint8Array } {
    const { offsets } = place(this.#lives);
    const arena = this.#lives.length > 0 ? this.#region('arena') : -1;
    const resolve: Resolve = (address) =>
      address.region < VIRTUAL
        ? address
        : { region: arena, offset: offsets[address.region - VIRTUAL]! + address.offset };
    for (const { label, write } of this.#calls) {
      this.#builder.setLabel(label);
      write(resolve);
    }
    const constants = new Uint8Array(this.#constantBytes);
    for (const { data, offset } of this.#constants) constants.set(data, offset);
    return { program: this.#builder.build(), constants };
  }
}
