/** Updates that may be cut off and run again, of any length, held to op by op: Note [Updates in several chains]. */
import * as a from '@lockstep/autograd';
import {
  Arena,
  availableVariants,
  createMemory,
  disassemble,
  HEAP_BASE,
  type KernelVariant,
  loadKernels,
  loadProgram,
  type Program,
  TILE,
} from '@lockstep/kernels';
import { describe, expect, it } from 'vitest';
import { CompileError, compile } from './index.ts';

type State = Readonly<Record<string, a.Tensor>>;
/** New values of the regions that it returns, from those of all: `w`, `m`, `v` and the gradients `g0`, `g1` … */
type Rule = (state: State) => Record<string, a.Tensor>;

const SIZE = 3 * TILE + 5;
const LAST = Math.floor(SIZE / TILE);
const TICK = 6;
const variants = availableVariants();
const memory = createMemory(HEAP_BASE + (4 << 20));

const sumOf = (state: State, count: number): a.Tensor =>
  Array.from({ length: count }, (_, i) => state[`g${i}`]!).reduce((left, right) => a.add(left, right));

/** As many steps as one likes, none of which can be left out. */
const rounds = (x: a.Tensor, y: a.Tensor, count: number): a.Tensor => {
  let result = x;
  for (let i = 0; i < count; i++) result = a.add(a.mul(result, 1 - i / 64), a.mul(a.sin(result), y));
  return result;
};

const adam = (state: State, gradients: number, steps = 1) => {
  const g = a.add(sumOf(state, gradients), a.mul(state.w!, 0.01));
  const m = a.add(a.mul(state.m!, 0.9), a.mul(g, 0.1));
  const v = a.add(a.mul(state.v!, 0.99), a.mul(a.square(g), 0.01));
  return { w: a.sub(state.w!, rounds(a.div(m, a.add(a.sqrt(v), 1e-8)), g, steps)), m, v };
};

const rules: Record<string, Rule> = {
  'one chain': (state) => adam(state, 1),
  ...Object.fromEntries(
    [12, 20, 24, 28, 40, 64, 130].map((count) => [`${count} gradients`, (s: State) => adam(s, count)]),
  ),
  'more steps than a chain has': (state) => adam(state, 3, 40),
  'a slot apart from the weight': ({ w, m, g0 }) => ({
    w: a.sub(w!, a.sign(a.add(a.mul(m!, 0.9), a.mul(g0!, 0.1)))),
    m: a.add(a.mul(m!, 0.99), a.mul(g0!, 0.01)),
  }),
  'a slot apart, and long': ({ w, m, g0 }) => ({ w: rounds(w!, g0!, 40), m: rounds(m!, g0!, 40) }),
  'a slot from the new weight, and long': ({ w, m, g0 }) => {
    const next = rounds(w!, g0!, 40);
    return { w: next, m: rounds(a.mul(m!, next), g0!, 30), v: a.sub(next, 1) };
  },
  // In some of these the last chain is full: what it reads must not wait for the commit, though it is an output.
  ...Object.fromEntries(
    [9, 10, 11, 12, 13, 14].map((count) => [
      `${count} rounds, then the new weight`,
      ({ w, m, g0 }: State) => {
        const next = a.sub(w!, g0!);
        return { w: next, m: a.mul(rounds(m!, g0!, count), next) };
      },
    ]),
  ),
  'the old weight and the gradient as slots': ({ w, g0 }) => ({ w: a.sub(w!, g0!), m: w!, v: g0! }),
  'the new weight twice': ({ w, g0 }) => {
    const next = a.sub(w!, g0!);
    return { w: next, m: next };
  },
  'slots that change places': ({ w, m, v }) => ({ w: a.sub(w!, m!), m: v!, v: m! }),
  'slots that change places, after long work': ({ w, m, v, g0 }) => ({
    w: rounds(a.sub(w!, m!), g0!, 70),
    m: v!,
    v: m!,
  }),
  'a slot that starts anew, one that stays': ({ w, v, g0 }) => ({
    w: a.sub(w!, g0!),
    m: a.full([SIZE], 0.5),
    v: v!,
  }),
  'a norm of what stays as it is': ({ w, g0 }) => ({
    w: a.sub(w!, a.mul(g0!, a.sqrt(a.sum(a.square(g0!), 0, { keepDims: true })))),
  }),
  'the gradient through a window, and as it is': ({ w, m, g0 }) => {
    const g = a.mul(g0!, 2);
    const turned = a.reshape(a.transpose(a.reshape(g, [23, 67])), [SIZE]);
    return { w: a.sub(w!, turned), m: a.add(m!, g), v: turned };
  },
  'nothing changes': ({ w }) => ({ w: w! }),
  'a copy': ({ g0 }) => ({ w: g0! }),
};

const spread = (seed: number): Float32Array =>
  Float32Array.from({ length: SIZE }, (_, i) => 2 * ((seed * 0.7548776662 + i * 0.6180339887) % 1) - 1);
const seeds: Record<string, number> = { w: 1, m: 2, v: 3 };
const start = (name: string): Float32Array => {
  const values = spread(seeds[name] ?? 10 + Number(name.slice(1)));
  return name === 'v' ? values.map(Math.abs) : values;
};

function compiled(rule: Rule, fuse: boolean): Program {
  const trace = new a.Trace();
  const state = new Proxy({} as Record<string, a.Tensor>, {
    get: (known, name: string) => {
      known[name] ??= trace.input('scalar', name, { shape: [SIZE], dtype: 'f32' });
      return known[name];
    },
  });
  const outputs = Object.entries(a.withTrace(trace, () => rule(state))).map(([region, tensor]) => ({
    node: trace.nodeOf(tensor),
    place: { region, offset: 0 },
    reduce: 'none' as const,
  }));
  return compile({
    ...{ segments: 1, outputs, fuse },
    bind: ({ name }) => ({ kind: 'memory', region: name, offset: 0 }),
    journal: { state: { region: 'journal', offset: 0 }, tick: { region: 'tick', offset: 0 } },
  }).program;
}

/** A program in memory, with NaN in its arena. */
function loaded(program: Program, kernels: KernelVariant) {
  const arena = new Arena(loadKernels({ kernels, memory }));
  const bind: Record<string, number> = {};
  const view = (name: string): Float32Array => arena.f32(bind[name]!, SIZE);
  for (const name of ['w', 'm', 'v']) {
    bind[name] = arena.allocate(4 * SIZE);
    view(name).set(start(name));
  }
  for (const { name, bytes } of program.regions) {
    bind[name] ??= arena.allocate(bytes);
    if (/^g\d+$/.test(name)) view(name).set(start(name));
    else if (!/^[wmv]$/.test(name)) arena.u8(bind[name], bytes).fill(name === 'journal' ? 0 : 0xff);
  }
  if (bind.tick !== undefined) arena.i32(bind.tick, 1)[0] = TICK;
  const journal = bind.journal === undefined ? undefined : arena.i32(bind.journal, 3);
  return { view, journal, run: () => loadProgram(arena, program, bind).run() };
}

const sameBits = (x: Float32Array, y: a.TensorData): boolean => {
  const [p, q] = [x, y].map(({ buffer, byteOffset, byteLength }) =>
    Buffer.from(buffer, byteOffset, byteLength),
  );
  return p!.equals(q!);
};

describe.each(Object.entries(rules))('%s', (_, rule) => {
  const expected = Object.entries(
    rule(new Proxy({}, { get: (_, name: string) => a.tensor(start(name)) }) as State),
  ).map(([name, tensor]) => [name, tensor.data()] as const);

  it.each([
    [variants[0]!, true],
    ['wasm', true],
    [variants[0]!, false],
  ] as const)('op by op and on %s, fused: %s, cut off at every tile: the same bits', (variant, fuse) => {
    const { view, journal, run } = loaded(compiled(rule, fuse), variant);
    const check = (when: string): void => {
      for (const [name, values] of expected) {
        expect(sameBits(view(name), values), `${name}, ${when}`).toBe(true);
      }
    };
    run();
    check('run once');
    if (!journal) return;
    expect([...journal]).toEqual([TICK, 2 * LAST + 2, 0]);
    run();
    check('run again for the same tick');
    for (let tile = 0; tile <= LAST; tile++) {
      for (const [name, values] of expected) {
        view(name).set(values.subarray(0, tile * TILE));
        view(name).set(start(name).subarray(tile * TILE), tile * TILE);
      }
      journal.set([TICK, 2 * tile, 0]);
      run();
      check(`cut off while tile ${tile} was computed`);
    }
    // The last tile is still in scratch.
    for (const [name] of expected) view(name).set(start(name).subarray(LAST * TILE + 2), LAST * TILE + 2);
    journal[1] = 2 * LAST + 1;
    run();
    check('cut off while the last tile was copied');
  });
});

it('takes one chain where it fits', () => {
  const calls = (name: string): number =>
    disassemble(compiled(rules[name]!, true)).match(/elementwise/g)!.length;
  expect(calls('one chain')).toBe(1);
  expect(calls('12 gradients')).toBe(1);
  expect(calls('a slot apart from the weight')).toBe(1);
  expect(calls('24 gradients')).toBe(2);
});

describe('what an update writes is not', () => {
  const bad: Record<string, [Rule, RegExp]> = {
    reduced: [
      ({ w, g0 }) => ({ w: a.sub(w!, a.mul(g0!, a.sum(w!, 0, { keepDims: true }))) }),
      /got sum of what the update itself writes, which is a kernel, expected element-wise ops on tensors of the shape/,
    ],
    turned: [
      ({ w, m }) => ({ w: a.sub(w!, a.flip(m!, [0])), m: a.add(m!, 1) }),
      /got flip of what the update itself/,
    ],
    'of another shape': [({ w, g0 }) => ({ w: a.sub(w!, 1), m: a.reshape(g0!, [1, SIZE]) }), /of one shape/],
  };
  it.each(Object.entries(bad))('%s', (_, [rule, message]) => {
    expect(() => compiled(rule, true)).toThrow(CompileError);
    expect(() => compiled(rule, true)).toThrow(message);
  });
});
