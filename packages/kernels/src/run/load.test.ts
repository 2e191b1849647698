import { Worker } from 'node:worker_threads';
import { describe, expect, it } from 'vitest';
import { ProgramBuilder } from '../program/builder.ts';
import { Arena, loadProgram } from './host.ts';
import { availableVariants, type KernelChoice, loadKernels, resolveVariant } from './load.ts';
import { createMemory, HEAP_BASE, STACK_BYTES } from './memory.ts';

const addition = (n: number) => {
  const b = new ProgramBuilder();
  const [input, out, scratch] = [
    b.addRegion('in', 'read'),
    b.addRegion('out', 'write'),
    b.addRegion('scratch', 'write'),
  ];
  b.elementwise({
    dims: [n],
    inputs: [{ address: { region: input, offset: 0 } }],
    steps: [{ op: 'add', args: [0, 0] }],
    outputs: [{ address: { region: out, offset: 0 }, value: 1 }],
    scratch: { region: scratch, offset: 0 },
  });
  return b.build();
};

describe.each(availableVariants())('%s', (variant) => {
  it('runs a program in an arena that lets its memory grow', () => {
    const arena = new Arena(loadKernels({ kernels: variant, memory: createMemory(0) }));
    const mark = arena.mark;
    const { bases, run } = loadProgram(arena, addition(100_000));
    arena.f32(bases[0]!, 100_000).fill(1.25);
    run();
    expect(new Set(arena.f32(bases[1]!, 100_000))).toEqual(new Set([2.5]));
    arena.release(mark);
    expect(arena.allocate(4)).toBe(mark);
  });

  it('names the word of an unknown instruction', () => {
    const arena = new Arena(loadKernels({ kernels: variant, memory: createMemory(0) }));
    const program = addition(4);
    const code = program.code.slice();
    code[0] = 77;
    expect(() => loadProgram(arena, { ...program, code }).run()).toThrow(/unknown instruction at word 0/);
  });

  it('runs in a second thread on the same memory, with a stack of its own', async () => {
    const memory = createMemory(1 << 20);
    const arena = new Arena(loadKernels({ kernels: variant, memory }));
    const stackTop = arena.allocate(STACK_BYTES) + STACK_BYTES;
    const program = addition(64);
    const { bases } = loadProgram(arena, program);
    arena.f32(bases[0]!, 64).fill(3);
    const basesAt = arena.allocate(12);
    arena.i32(basesAt, 3).set(bases);
    const codeAt = arena.allocate(program.code.byteLength);
    arena.i32(codeAt, program.code.length).set(program.code);
    const source = `
      const { workerData: d } = require('node:worker_threads');
      import(d.module).then(({ loadKernels }) => {
        const kernels = loadKernels({ kernels: d.variant, memory: d.memory, stackTop: d.stackTop });
        kernels.run(d.codeAt, 0, d.words, d.basesAt);
      });`;
    const module = new URL('../../dist/index.js', import.meta.url).href;
    const words = program.code.length;
    const workerData = { module, variant, memory, stackTop, codeAt, words, basesAt };
    const worker = new Worker(source, { eval: true, workerData });
    const status = await new Promise((resolve, reject) => worker.once('exit', resolve).once('error', reject));
    expect(status).toBe(0);
    expect(new Set(arena.f32(bases[1]!, 64))).toEqual(new Set([6]));
  });
});

describe('choices', () => {
  it('auto is the best of what there is, and WASM is always there', () => {
    expect(resolveVariant('auto')).toBe(availableVariants()[0]);
    expect(availableVariants()).toContain('wasm');
  });
  it('refuses what is not there, with the way out', () => {
    const choice: KernelChoice = process.arch === 'arm64' ? 'native-avx2' : 'native-neon';
    expect(() => resolveVariant(choice)).toThrow(
      /not available .*expected auto or one of .*wasm.*C compiler/,
    );
  });
  it('refuses memory beyond 4 GiB and odd stacks', () => {
    expect(() => createMemory(2 ** 33)).toThrow(/4 GiB/);
    expect(() => loadKernels({ memory: createMemory(0), stackTop: HEAP_BASE + 8 })).toThrow(/multiple of 16/);
  });
});
