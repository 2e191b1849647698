/** Programs that a stranger could send: valid ones, small and real, changed at random. */
import {
  ELEMENTWISE,
  ELEMENTWISE_HEADER,
  type Fields,
  type InstructionName,
  instructionExtents,
  instructions,
  instructionWork,
  type Program,
  type Region,
} from '@lockstep/kernels';
import type { Random } from './random.ts';

type Mutable = { regions: Region[]; code: Int32Array; starts: number[] };

const program = ({ regions, code, starts }: Mutable): Program => ({
  version: 1,
  regions,
  code,
  starts,
  labels: starts.map(() => ''),
  cuts: [],
});

const byCode = new Map<number, Fields>(Object.values(instructions).map(({ code, fields }) => [code, fields]));

/** Word positions of the addresses of an instruction. */
const addressesOf = (code: Int32Array, start: number): number[] => {
  const found: number[] = [];
  if (code[start] === ELEMENTWISE) {
    const [rank, inputs, outputs, steps] = [3, 4, 6, 7].map((i) => code[start + i]!) as [
      number,
      number,
      number,
      number,
    ];
    const first = start + ELEMENTWISE_HEADER + rank;
    const last = first + inputs * (3 + rank) + steps * 6;
    // A count that was changed before may be anything.
    if (last + 2 * outputs > code.length || Math.min(rank, inputs, outputs, steps) < 0) return [];
    found.push(start + 8, start + 10, start + 12);
    for (let i = 0; i < inputs; i++) found.push(first + i * (3 + rank));
    for (let o = 0; o < outputs; o++) found.push(last + 2 * o);
  } else {
    let at = start + 2;
    for (const type of Object.values(byCode.get(code[start]!) ?? {})) {
      if (type === 'addr') found.push(at);
      at += type === 'addr' ? 2 : 1;
    }
  }
  return found.filter((at) => at + 1 < code.length && code[at] !== -1);
};

const allAddresses = ({ code, starts }: Mutable): number[] =>
  starts.flatMap((start) => addressesOf(code, start));

/** Instructions [from, to) of a program, with the regions that they use. */
const windowOf = ({ regions, code, starts }: Program, from: number, to: number): Mutable => {
  const first = starts[from]!;
  const words = code.slice(first, starts[to] ?? code.length);
  const made: Mutable = {
    regions: [],
    code: words,
    starts: starts.slice(from, to).map((at) => at - first),
  };
  const known = new Map<number, number>();
  for (const at of allAddresses(made)) {
    const old = words[at]!;
    const index = known.get(old) ?? made.regions.push({ ...regions[old]! }) - 1;
    known.set(old, index);
    words[at] = index;
  }
  return made;
};

// ─── one instruction with operands of any size ───────────────────────────────────────────────────────────────────

const SIZES = [1, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 20, 31, 33, 40, 65];
const FLAGS =
  /^(trans[AB]|tree|center|weighted|biased|causal|masked|initial|reverse|cells|descending|stride[CAB][01])$/;
const STRIDES = /^(ld[abc]|segment[AB]|segmentIn|segmentIndex|\w+(Batch|Head|Row)|\w+Stride\d|stride)$/;

/** A call with operands in regions of their own, or undefined where its sizes mean nothing together. */
export function generated(name: InstructionName, random: Random): Program | undefined {
  const { code, fields } = instructions[name] as { code: number; fields: Fields };
  const values: Record<string, number> = {};
  for (const [field, type] of Object.entries(fields)) {
    if (type === 'f32') values[field] = 0x3f000000;
    else if (field === 'kind') values[field] = random.below(random.chance(0.5) ? 2 : 4);
    else if (FLAGS.test(field)) values[field] = random.below(2);
    else if (STRIDES.test(field)) values[field] = random.pick(SIZES) * random.pick([0, 1, 1, 3, 16]);
    else if (/^(pad|dilation|stride|groups|segments|batch|heads|n[0-7]$)/.test(field))
      values[field] = 1 + random.below(3) - (field.startsWith('pad') ? 1 : 0);
    else values[field] = random.chance(0.03) ? 0 : random.pick(SIZES);
  }
  // Sizes that only fit together by design.
  if ('groups' in values)
    for (const each of ['c', 'o']) values[each] = values.groups! * (1 + random.below(9));
  if ('kh' in values)
    for (const each of ['kh', 'kw', 'oh', 'ow', 'h', 'w'])
      values[each] = 1 + random.below(each < 'l' ? 5 : 12);
  if ('ldc' in values) values.ldc = values.n! + random.pick([0, 0, 1, 5]);
  if ('strideC0' in values) {
    values.strideC0 = values.m! * values.ldc!;
    values.strideC1 = values.strideC0 * values.batch0!;
  }
  const words = [code, 0];
  const regions: Region[] = [];
  for (const [field, type] of Object.entries(fields)) {
    if (type === 'addr') words.push(regions.push({ name: field, bytes: 0, access: 'write' }) - 1, 0);
    else words.push(values[field]!);
  }
  words[1] = words.length;
  const made = { regions, code: Int32Array.from(words), starts: [0] };
  return fit(made) ? program(made) : undefined;
}

// ─── changes ───────────────────────────────────────────────────────────────────────────────────────────────────────

/** Regions as large as what is touched, to the byte, and writable where they are written. False where words mean nothing. */
function fit({ regions, code, starts }: Mutable): boolean {
  const ends = regions.map(() => 0);
  const written = regions.map(() => false);
  try {
    for (const start of starts) {
      const { addresses, extents } = instructionExtents(code, start);
      for (const [, { region, offset }] of addresses) ends[region] = Math.max(ends[region] ?? 0, offset);
      for (const { address, bytes, access } of extents) {
        ends[address.region] = Math.max(ends[address.region] ?? 0, address.offset + bytes);
        if (access === 'write') written[address.region] = true;
      }
    }
  } catch {
    return false;
  }
  regions.forEach((region, r) => {
    regions[r] = { ...region, bytes: ends[r]!, access: written[r] ? 'write' : region.access };
  });
  return true;
}

const INTERESTING = [0, 1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 32, 33, 64, 128, 255, 256, 512, 513];
const HUGE = [-1, 0x7fffffff, -0x80000000, 0x40000000, 65_535, 65_536, 0x3f800000, -16];

const changes: readonly ((made: Mutable, random: Random) => void)[] = [
  // A word becomes another one.
  ({ code }, random) => {
    code[random.below(code.length)] = random.pick(random.chance(0.8) ? INTERESTING : HUGE);
  },
  ({ code }, random) => {
    const at = random.below(code.length);
    code[at] = code[at]! + random.pick([-1, 1, -2, 2, 4, -4, 16]);
  },
  ({ code }, random) => {
    const [to, from] = [random.below(code.length), random.below(code.length)];
    code[to] = code[from]!;
  },
  // An operand lies a little further, elsewhere, or where another one is.
  (made, random) => {
    const at = random.pick(allAddresses(made));
    if (at === undefined) return;
    made.code[at + 1] = Math.max(0, made.code[at + 1]! + 4 * (random.below(129) - 64));
  },
  (made, random) => {
    const at = random.pick(allAddresses(made));
    if (at !== undefined) made.code[at] = random.below(made.regions.length);
  },
  (made, random) => {
    const start = random.pick(made.starts);
    const [to, from] = [1, 2].map(() => random.pick(addressesOf(made.code, start)));
    if (to === undefined || from === undefined) return;
    made.code[to] = made.code[from]!;
    made.code[to + 1] = made.code[from + 1]! + random.pick([0, 0, 4, 8, 32, 64, 256]);
  },
  // Two regions become one, the second behind the first or over its end.
  (made, random) => merge(made, random, [0, 0, 0, 4, 8, 64]),
  (made, random) => merge(made, random, [0, -4, -8, -64]),
  // A region is smaller, or only read.
  ({ regions }, random) => {
    const r = random.below(regions.length);
    const region = regions[r];
    if (region)
      regions[r] = { ...region, bytes: Math.max(0, region.bytes - random.pick([1, 2, 3, 4, 8, 64])) };
  },
  ({ regions }, random) => {
    const r = random.below(regions.length);
    const region = regions[r];
    if (region) regions[r] = { ...region, access: region.access === 'read' ? 'write' : 'read' };
  },
];

function merge(made: Mutable, random: Random, gaps: readonly number[]): void {
  const [into, from] = [random.below(made.regions.length), random.below(made.regions.length)];
  const region = made.regions[into];
  if (into === from || !region) return;
  const shift = Math.max(0, Math.ceil(region.bytes / 4) * 4 + random.pick(gaps));
  for (const at of allAddresses(made)) {
    if (made.code[at] !== from) continue;
    made.code[at] = into;
    made.code[at + 1] = made.code[at + 1]! + shift;
  }
}

/** A few instructions of a program, from one of them on (default: any), changed. */
export function mutated(
  original: Program,
  random: Random,
  from = random.below(original.starts.length),
): Program {
  const count = 1 + random.below(random.chance(0.7) ? 1 : 4);
  const made = windowOf(original, from, Math.min(original.starts.length, from + count));
  // Most operands of real programs lie in one arena already; those of single calls come together here.
  while (random.chance(0.4)) merge(made, random, [0, 0, 8, 64]);
  fit(made);
  for (let i = random.below(4); i > 0; i--) random.pick(changes)(made, random);
  if (random.chance(0.85)) fit(made);
  return program(made);
}

// ─── what may be run ───────────────────────────────────────────────────────────────────────────────────────────────

const MAX_BYTES = 6 << 20;
const MAX_ROUNDS = 1 << 20;
const NOT_COUNTED =
  /^(kind|trans[AB]|tree|center|weighted|biased|causal|masked|initial|reverse|cells|descending|ld[abc]|segment[AB]|segmentIn|segmentIndex|pad[HW]|dilation[HW]|stream|dataRows|indexCount|block|groups|\w+(Batch|Head|Row)|\w+Stride\d|stride[CAB][01]|stride|h|w)$/;

/** Whether a valid program is done within milliseconds: loops over nothing can be as long as 2⁶⁴. */
export const isSmall = ({ regions, code, starts }: Program): boolean =>
  regions.reduce((sum, { bytes }) => sum + bytes, 0) <= MAX_BYTES &&
  starts.every((start) => {
    if (instructionWork(code, start).flops > 2 * MAX_ROUNDS) return false;
    if (code[start] === ELEMENTWISE) return (code[start + 2]! >>> 0) * (1 + code[start + 7]!) < MAX_ROUNDS;
    let rounds = 1;
    let at = start + 2;
    for (const [field, type] of Object.entries(byCode.get(code[start]!)!)) {
      if (type !== 'addr' && type !== 'f32' && !NOT_COUNTED.test(field))
        rounds *= Math.max(1, code[at]! >>> 0);
      at += type === 'addr' ? 2 : 1;
    }
    return rounds <= 4 * MAX_ROUNDS;
  });

/** Instructions of many programs by name, so that rare ones are as likely as common ones. */
export class Instructions {
  readonly #places = new Map<string, [Program, number][]>();

  constructor(programs: readonly Program[]) {
    for (const each of programs) {
      for (const [i, start] of each.starts.entries()) {
        const { name } = instructionExtents(each.code, start);
        this.#places.set(name, [...(this.#places.get(name) ?? []), [each, i]]);
      }
    }
  }

  get names(): string[] {
    return [...this.#places.keys()];
  }

  mutated(random: Random): Program {
    // Chains are many instructions in one.
    const name = random.chance(0.25) ? 'elementwise' : random.pick(this.names);
    const [original, from] = random.pick(this.#places.get(name)!);
    return mutated(original, random, from);
  }
}
