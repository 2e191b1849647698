/**
 * Plans an elementwise chain: values in SSA form become slots of the tile machine (see ELEMENTWISE in `instructions.ts`).
 *
 * Registers are tiles in L1, so few of them are better: each is given back after its value's last read, and a value that is an
 * output is computed right in the output's memory when that is safe.
 */
import {
  ELEMENTWISE,
  ELEMENTWISE_HEADER,
  inputKinds,
  MAX_RANK,
  MAX_SLOTS,
} from '../instructions/instructions.ts';
import { type MicroOpName, microOps } from '../instructions/microops.ts';
import { type Address, ELEMENT_BYTES, NOWHERE } from '../instructions/program.ts';
import { addressWords, floatBits, unsigned } from '../instructions/words.ts';
import { pairSteps, slopesBeside } from './pairs.ts';

export interface ChainInput {
  readonly address: Address;
  /** Elements to go for one step along each dim (0 repeats); absent: contiguous. */
  readonly strides?: readonly number[];
  /** One element for all. */
  readonly scalar?: true;
}

/** One micro-op. `args` are value ids: the inputs first, then one per step. */
export interface ChainStep {
  readonly op: MicroOpName;
  readonly args: readonly number[];
  /** Of a `constant`: an f32 … */
  readonly imm?: number;
  /** … or the 32 bits of a lane, for an i32. */
  readonly bits?: number;
}

export interface ChainOutput {
  readonly address: Address;
  readonly value: number;
}

export interface Chain {
  readonly dims: readonly number[];
  readonly inputs: readonly ChainInput[];
  readonly steps: readonly ChainStep[];
  /** Full shape, contiguous. An output may lie exactly where a contiguous input lies. */
  readonly outputs: readonly ChainOutput[];
  readonly scratch: Address;
  /** 3 words, zero before the first call; see ELEMENTWISE. Needs `tick`. */
  readonly journal?: Address;
  /** The word that changes from step to step (record word 2). */
  readonly tick?: Address;
}

interface Layout {
  readonly kind: keyof typeof inputKinds;
  readonly strides: readonly number[];
}

const sameAddress = (a: Address, b: Address): boolean => a.region === b.region && a.offset === b.offset;

/** Drops dims of 1 and merges neighbours that every input walks as one; inputs become contiguous or scalar if they are. */
const collapse = (dims: readonly number[], inputs: readonly ChainInput[]): [number[], Layout[]] => {
  const walks = inputs.map(({ strides }) => strides);
  const outDims: number[] = [];
  const outStrides: number[][] = inputs.map(() => []);
  dims.forEach((dim, d) => {
    if (dim === 1) return;
    const last = outDims.length - 1;
    const joins =
      last >= 0 && walks.every((strides, i) => !strides || outStrides[i]![last] === strides[d]! * dim);
    if (joins) outDims[last]! *= dim;
    else outDims.push(dim);
    walks.forEach((strides, i) => {
      if (strides) outStrides[i]![outDims.length - 1] = strides[d]!;
    });
  });
  if (outDims.length === 0) {
    outDims.push(1);
    for (const strides of outStrides) strides.push(1);
  }
  const dense = outDims.map((_, d) => outDims.slice(d + 1).reduce((product, size) => product * size, 1));
  const zeros = outDims.map(() => 0);
  const layouts = inputs.map(({ scalar, strides }, i): Layout => {
    if (scalar) return { kind: 'scalar', strides: zeros };
    const own = outStrides[i]!;
    if (!strides || dense.every((stride, d) => own[d] === stride))
      return { kind: 'contiguous', strides: dense };
    if (own.every((stride) => stride === 0)) return { kind: 'scalar', strides: zeros };
    return { kind: 'strided', strides: own };
  });
  return [outDims, layouts];
};

const check = ({ dims, inputs, steps, outputs, journal, tick }: Chain): void => {
  inputs.forEach(({ strides }, i) => {
    if (strides && strides.length !== dims.length) {
      throw new Error(`elementwise: input ${i} has ${strides.length} strides for ${dims.length} dims`);
    }
  });
  steps.forEach(({ op, args }, s) => {
    const { arity } = microOps[op];
    const bad = args.length !== arity || args.some((arg) => !(arg >= 0 && arg < inputs.length + s));
    if (bad)
      throw new Error(`elementwise: step ${s} (${op}) has args [${args}], expected ${arity} earlier values`);
  });
  outputs.forEach(({ value }, o) => {
    if (!(value >= 0 && value < inputs.length + steps.length)) {
      throw new Error(
        `elementwise: output ${o} is value ${value}, expected one of ${inputs.length + steps.length}`,
      );
    }
  });
  if (outputs.length === 0) throw new Error('elementwise: a chain without outputs');
  if (journal && !tick) throw new Error('elementwise: a journal needs a tick');
};

/** Tiles are written while others are still to be read, so an output may only lie exactly on a contiguous input. */
const checkOverlaps = (
  chain: Chain,
  dims: readonly number[],
  layouts: readonly Layout[],
  total: number,
): void => {
  const overlap = (a: Address, aCount: number, b: Address, bCount: number): boolean =>
    a.region === b.region &&
    a.offset < b.offset + bCount * ELEMENT_BYTES &&
    b.offset < a.offset + aCount * ELEMENT_BYTES;
  chain.outputs.forEach(({ address }, o) => {
    chain.inputs.forEach((input, i) => {
      const { kind, strides } = layouts[i]!;
      if (kind === 'contiguous' ? sameAddress(input.address, address) : kind === 'scalar' && total <= 1)
        return;
      const count = dims.reduce((sum, dim, d) => sum + (dim - 1) * strides[d]!, 1);
      if (total > 0 && overlap(address, total, input.address, kind === 'contiguous' ? total : count)) {
        throw new Error(
          `elementwise: output ${o} overlaps input ${i}; only a contiguous input may be overwritten in place`,
        );
      }
    });
    for (const other of chain.outputs.slice(0, o)) {
      if (overlap(address, total, other.address, total))
        throw new Error(`elementwise: output ${o} overlaps another output`);
    }
  });
};

/** The steps that outputs depend on, equal constants made one; value ids as in the chain. */
const liveSteps = ({ inputs, steps, outputs }: Chain): { alias: number[]; live: boolean[] } => {
  const alias = Array.from({ length: inputs.length + steps.length }, (_, id) => id);
  const constants = new Map<number, number>();
  steps.forEach((step, s) => {
    if (step.op !== 'constant') return;
    const bits = step.bits ?? floatBits(step.imm ?? 0);
    const known = constants.get(bits);
    if (known === undefined) constants.set(bits, inputs.length + s);
    else alias[inputs.length + s] = known;
  });
  const live = alias.map(() => false);
  for (const { value } of outputs) live[alias[value]!] = true;
  for (let s = steps.length - 1; s >= 0; s--) {
    if (!live[inputs.length + s]) continue;
    for (const arg of steps[s]!.args) live[alias[arg]!] = true;
  }
  return { alias, live };
};

/** Where a value is while the chain runs. */
type Slot = { readonly in: 'input' | 'register' | 'output'; readonly index: number };
interface Emitted {
  readonly op: MicroOpName;
  readonly dst: Slot;
  readonly args: readonly Slot[];
  readonly bits: number;
}

interface Registers {
  take(): Slot;
  /** A constant's register is filled before the first tile: no other value may ever have it. */
  takeForever(): Slot;
  free(slot: Slot): void;
  count(): number;
}

const registers = (): Registers => {
  let count = 0;
  const idle: Slot[] = [];
  const fresh = (): Slot => ({ in: 'register', index: count++ });
  return {
    take: () => idle.pop() ?? fresh(),
    takeForever: fresh,
    free: (slot) => void (slot.in === 'register' && idle.push(slot)),
    count: () => count,
  };
};

/** Steps with slots, and how many registers they need. */
const allocate = (chain: Chain, layouts: readonly Layout[]): { emitted: Emitted[]; nReg: number } => {
  const { inputs, steps, outputs } = chain;
  const { alias, live } = liveSteps(chain);
  const pool = registers();
  const emitted: Emitted[] = [];
  const move = (dst: Slot, from: Slot): void => void emitted.push({ op: 'move', dst, args: [from], bits: 0 });

  const END = steps.length; // the moves into outputs come after all steps
  const lastRead = alias.map(() => -1);
  steps.forEach((step, s) => {
    if (live[inputs.length + s]) for (const arg of step.args) lastRead[alias[arg]!] = s;
  });
  for (const { value } of outputs) if (alias[value]! < inputs.length) lastRead[alias[value]!] = END;

  /** The first step at which output o may be written: not before the input that lies there is read for the last time. */
  const writable = outputs.map(({ address }) =>
    inputs.reduce(
      (step, input, i) =>
        layouts[i]!.kind === 'contiguous' && sameAddress(input.address, address)
          ? Math.max(step, lastRead[i]!)
          : step,
      -1,
    ),
  );
  const slots: (Slot | undefined)[] = inputs.map((_, index) => ({ in: 'input', index }));
  /** Outputs that are only another name of an input which some output overwrites: saved to a register first. */
  outputs.forEach(({ value, address }) => {
    const id = alias[value]!;
    const input = inputs[id];
    if (!input || slots[id]!.in === 'register' || sameAddress(input.address, address)) return;
    if (
      layouts[id]!.kind !== 'contiguous' ||
      !outputs.some((other) => sameAddress(other.address, input.address))
    )
      return;
    const saved = pool.takeForever();
    move(saved, slots[id]!);
    slots[id] = saved;
  });

  const direct = new Map<number, number>(); // value → output that it is computed in
  outputs.forEach(({ value }, o) => {
    const id = alias[value]!;
    const s = id - inputs.length;
    if (s < 0 || steps[s]!.op === 'constant' || direct.has(id) || writable[o]! > s) return;
    direct.set(id, o);
  });
  const isOutput = new Set(outputs.map(({ value }) => alias[value]!));

  steps.forEach((step, s) => {
    const id = inputs.length + s;
    if (!live[id] || alias[id] !== id) return;
    if (step.op === 'constant') {
      slots[id] = pool.takeForever();
      emitted.push({
        op: 'constant',
        dst: slots[id]!,
        args: [],
        bits: step.bits ?? floatBits(step.imm ?? 0),
      });
      return;
    }
    const args = step.args.map((arg) => alias[arg]!);
    for (const arg of new Set(args)) {
      const isConstant = steps[arg - inputs.length]?.op === 'constant';
      if (arg >= inputs.length && lastRead[arg] === s && !isConstant && !isOutput.has(arg))
        pool.free(slots[arg]!);
    }
    const output = direct.get(id);
    const dst: Slot = output === undefined ? pool.take() : { in: 'output', index: output };
    emitted.push({ op: step.op, dst, args: args.map((arg) => slots[arg]!), bits: 0 });
    slots[id] = dst;
  });

  outputs.forEach(({ value }, index) => {
    const id = alias[value]!;
    if (direct.get(id) !== index) move({ in: 'output', index }, slots[id]!);
  });
  return { emitted, nReg: pool.count() };
};

/** The words of the instruction and the number of slots it uses. Throws an Error where the chain makes no sense. */
export const encodeChain = (given: Chain): { words: number[]; slots: number } => {
  check(given);
  const chain = pairSteps(slopesBeside(given));
  const { inputs, outputs } = chain;
  const [dims, layouts] = collapse(chain.dims, inputs);
  if (dims.length > MAX_RANK) {
    throw new Error(
      `elementwise: ${dims.length} axes of which no two neighbours lie together, expected at most ${MAX_RANK}`,
    );
  }
  const total = dims.reduce((product, size) => product * size, 1);
  checkOverlaps(chain, dims, layouts, total);
  const { emitted, nReg } = allocate(chain, layouts);
  const slots = inputs.length + nReg + outputs.length;
  if (slots > MAX_SLOTS) {
    throw new Error(`elementwise: ${slots} slots, expected at most ${MAX_SLOTS}; split the chain`);
  }
  const base = { input: 0, register: inputs.length, output: inputs.length + nReg };
  const slot = (place: Slot | undefined): number => (place ? base[place.in] + place.index : 0);
  const words = [ELEMENTWISE, 0, unsigned('elementwise: total', total), dims.length];
  words.push(inputs.length, nReg, outputs.length, emitted.length);
  words.push(...addressWords('scratch', chain.scratch));
  words.push(...addressWords('journal', chain.journal ?? NOWHERE));
  words.push(...addressWords('tick', chain.tick ?? NOWHERE));
  if (words.length !== ELEMENTWISE_HEADER)
    throw new Error('elementwise: header out of step with instructions.ts');
  words.push(...dims.map((dim) => unsigned('elementwise: dim', dim)));
  inputs.forEach(({ address }, i) => {
    const { kind, strides } = layouts[i]!;
    words.push(...addressWords(`input ${i}`, address), inputKinds[kind]);
    words.push(...strides.map((stride) => unsigned(`input ${i}: stride`, stride)));
  });
  for (const { op, dst, args, bits } of emitted) {
    words.push(microOps[op].code, slot(dst), slot(args[0]), slot(args[1]), slot(args[2]), bits);
  }
  outputs.forEach(({ address }, o) => void words.push(...addressWords(`output ${o}`, address)));
  words[1] = words.length;
  return { words, slots };
};
