/** The naive twin of the elementwise chain. */
import { ELEMENTWISE_HEADER, inputKinds } from '../instructions/instructions.ts';
import { type MicroOpName, microOps } from '../instructions/microops.ts';
import { type Address, TILE } from '../instructions/program.ts';
import { bitsFloat } from '../instructions/words.ts';
import {
  erf,
  gelu,
  geluSlope,
  geluTanh,
  geluTanhSlope,
  mish,
  mishSlope,
  pow,
  sigmoid,
  silu,
  siluSlope,
  softplus,
} from './functions.ts';
import type { Machine } from './machine.ts';

/** `round` is for what a pair of steps gives in between; the result is rounded by the caller. */
type Micro = (a: number, b: number, c: number, round: (x: number) => number) => number;
/** What a step reads: decides how the bits of a constant are meant. `any` takes both kinds. */
type Reads = 'float' | 'integer' | 'any';
const float = (run: Micro): [Reads, Micro] => ['float', run];
const integer = (run: Micro): [Reads, Micro] => ['integer', run];

const micros: { readonly [K in MicroOpName]: readonly [Reads, Micro] } = {
  constant: ['any', (a) => a],
  move: ['any', (a) => a],
  neg: float((a) => -a),
  abs: float(Math.abs),
  sign: float((a) => (a === 0 ? 0 : Math.sign(a))),
  floor: float(Math.floor),
  ceil: float(Math.ceil),
  round: float(roundHalfToEven),
  sqrt: float(Math.sqrt),
  exp: float(Math.exp),
  expm1: float(Math.expm1),
  log: float(Math.log),
  log1p: float(Math.log1p),
  sin: float(Math.sin),
  cos: float(Math.cos),
  tanh: float(Math.tanh),
  erf: float(erf),
  sigmoid: float(sigmoid),
  gelu: float(gelu),
  geluTanh: float(geluTanh),
  silu: float(silu),
  mish: float(mish),
  geluSlope: float(geluSlope),
  geluTanhSlope: float(geluTanhSlope),
  siluSlope: float(siluSlope),
  mishSlope: float(mishSlope),
  add: float((a, b) => a + b),
  sub: float((a, b) => a - b),
  mul: float((a, b) => a * b),
  div: float((a, b) => a / b),
  min: float((a, b) => (a < b || Number.isNaN(a) ? a : b)),
  max: float((a, b) => (a > b || Number.isNaN(a) ? a : b)),
  pow: float(pow),
  softplus: float(softplus),
  lt: float((a, b) => Number(a < b)),
  le: float((a, b) => Number(a <= b)),
  eq: float((a, b) => Number(a === b)),
  ne: float((a, b) => Number(a !== b)),
  addI: integer((a, b) => (a + b) | 0),
  subI: integer((a, b) => (a - b) | 0),
  mulI: integer(Math.imul),
  ltI: integer((a, b) => Number(a < b)),
  leI: integer((a, b) => Number(a <= b)),
  eqI: integer((a, b) => Number(a === b)),
  neI: integer((a, b) => Number(a !== b)),
  and: integer((a, b) => a & b),
  or: integer((a, b) => a | b),
  not: integer((a) => Number(a === 0)),
  negI: integer((a) => -a | 0),
  absI: integer((a) => Math.abs(a) | 0),
  minI: integer((a, b) => Math.min(a, b)),
  maxI: integer((a, b) => Math.max(a, b)),
  divI: integer((a, b) => (b === 0 ? 0 : (a / b) | 0)),
  toFloat: integer((a) => a),
  toInt: float((a) => (Number.isNaN(a) ? 0 : Math.trunc(Math.min(Math.max(a, -(2 ** 31)), 2 ** 31 - 1)) | 0)),
  select: ['any', (c, a, b) => (c !== 0 ? a : b)],
  isFinite: float((a) => Number(Number.isFinite(a))),
  mulAdd: float((a, b, c, round) => round(a * b) + c),
  mulSub: float((a, b, c, round) => round(a * b) - c),
  mulDiv: float((a, b, c, round) => round(a * b) / c),
  mulMul: float((a, b, c, round) => round(a * b) * c),
  addMul: float((a, b, c, round) => round(a + b) * c),
  subMul: float((a, b, c, round) => round(a - b) * c),
  sqrtAdd: float((a, b, _, round) => round(Math.sqrt(a)) + b),
};
const microByCode = new Map<number, { name: MicroOpName; arity: number }>(
  Object.entries(microOps).map(([name, { code, arity }]) => [code, { name: name as MicroOpName, arity }]),
);

interface Step {
  readonly name: MicroOpName;
  readonly run: Micro;
  readonly rounds: boolean;
  readonly dst: number;
  readonly args: readonly number[];
  readonly imm: number;
}

function decodeSteps(words: Int32Array): Step[] {
  return Array.from({ length: words.length / 6 }, (_, i) => {
    const [code, dst, a, b, c, imm] = words.subarray(6 * i, 6 * i + 6) as unknown as [number, ...number[]];
    const { name, arity } = microByCode.get(code)!;
    const [reads, run] = micros[name];
    const rounds = (reads === 'float' && name !== 'toInt') || name === 'toFloat';
    return { name, run, rounds, dst: dst!, args: [a!, b!, c!].slice(0, arity), imm: imm! };
  });
}

/**
 * A program holds the bits of a constant, not its type: who reads it tells. Where nobody does (a constant that is only
 * stored or chosen) small integers are told from floats by their bits, which would be subnormal or NaN.
 */
function constantOf({ dst, imm }: Step, steps: readonly Step[]): number {
  const readers = steps.flatMap((step) =>
    step.args.flatMap((slot, i) =>
      slot !== dst ? [] : step.name === 'select' && i === 0 ? ['integer'] : [micros[step.name][0]],
    ),
  );
  if (readers.includes('integer')) return imm;
  const value = bitsFloat(imm);
  const exponent = (imm >>> 23) & 0xff;
  const plain = exponent !== 0 && (exponent !== 0xff || Math.abs(value) === Infinity || imm === 0x7fc00000);
  return plain || readers.includes('float') || imm === -(2 ** 31) ? value : imm;
}

/** Runs one elementwise instruction. With a journal, it always starts anew. */
export function elementwise(machine: Machine, words: Int32Array): void {
  const [, , total, rank, nIn, nReg, nOut, nOps] = words as unknown as number[] as [number, ...number[]];
  let at = ELEMENTWISE_HEADER;
  const take = (n: number): Int32Array => {
    at += n;
    return words.subarray(at - n, at);
  };
  const address = (): Address => {
    const [region, offset] = take(2) as unknown as [number, number];
    return { region, offset };
  };
  const dims = [...take(rank!)];
  const inputs = Array.from({ length: nIn! }, () => {
    const data = machine.at(address());
    const kind = take(1)[0];
    const strides = [...take(rank!)];
    return { data, index: indexing(kind!, dims, strides) };
  });
  const steps = decodeSteps(take(6 * nOps!));
  const outputs = Array.from({ length: nOut! }, () => machine.at(address()));
  const slots = new Float64Array(nIn! + nReg! + nOut!);
  const constants = steps.map((step) => (step.name === 'constant' ? constantOf(step, steps) : 0));
  const journal = words[10] === -1 ? undefined : machine.at({ region: words[10]!, offset: words[11]! });

  const compute = (element: number): number[] => {
    inputs.forEach(({ data, index }, i) => {
      slots[i] = data[index(element)]!;
    });
    steps.forEach(({ name, run, rounds, dst, args }, i) => {
      const [a = 0, b = 0, c = 0] = args.map((slot) => slots[slot]!);
      const value = name === 'constant' ? constants[i]! : run(a, b, c, machine.round);
      slots[dst] = rounds ? machine.round(value) : value;
    });
    return outputs.map((_, i) => slots[nIn! + nReg! + i]!);
  };
  for (let tile = 0; tile < total!; tile += TILE) {
    const values = Array.from({ length: Math.min(TILE, total! - tile) }, (_, i) => compute(tile + i));
    const commit = !journal || values.flat().every(Number.isFinite);
    if (commit) {
      values.forEach((row, i) => {
        outputs.forEach((output, o) => {
          output[tile + i] = row[o]!;
        });
      });
    } else journal[2] = 1;
  }
  if (journal) {
    journal[0] = machine.at({ region: words[12]!, offset: words[13]! })[0]!;
    journal[1] = 2 * Math.ceil(total! / TILE);
  }
}

/** Where the element with a row-major number lies. */
function indexing(kind: number, dims: readonly number[], strides: readonly number[]): (i: number) => number {
  if (kind === inputKinds.contiguous) return (element) => element;
  if (kind === inputKinds.scalar) return () => 0;
  return (element) => {
    let index = 0;
    let rest = element;
    for (let axis = dims.length - 1; axis >= 0; axis--) {
      index += (rest % dims[axis]!) * strides[axis]!;
      rest = Math.floor(rest / dims[axis]!);
    }
    return index;
  };
}

function roundHalfToEven(x: number): number {
  const up = Math.round(x);
  return Math.abs(x % 1) === 0.5 && up % 2 !== 0 ? up - 1 : up;
}
