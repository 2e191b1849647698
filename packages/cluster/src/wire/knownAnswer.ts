/** The known-answer test of a class of arithmetic: whose kernels give these bits may share a run. */

import { createHash } from 'node:crypto';
import { add, div, erf, exp, log, matmul, mul, reshape, sqrt, sub, sum, tanh } from '@lockstep/autograd';
import { Arena, createMemory, type KernelChoice, loadKernels, loadProgram } from '@lockstep/kernels';
import { at, MemoryProgram } from '@lockstep/trainer';

/** Odd sizes: every kernel meets its remainders. */
const [M, K, N] = [37, 83, 29];

/** SHA-256 (hex) of what a few kernels make of fixed numbers. Throws where these kernels are not to be had. */
export function arithmeticProof(choice: KernelChoice): string {
  const program = new MemoryProgram();
  const a = program.input(at('a'), M * K);
  const b = program.input(at('b'), K * N);
  const compiled = program.compile(() => {
    const product = matmul(reshape(a, [M, K]), reshape(b, [K, N]));
    const curved = add(tanh(mul(product, 0.25)), erf(sub(product, 0.5)));
    const risen = div(exp(mul(curved, 1.5)), sqrt(add(mul(product, product), 0.1)));
    return [
      [product, at('product')],
      [sum(log(add(risen, 1)), 1), at('rows')],
      [sum(risen, 0), at('columns')],
    ];
  });
  const arena = new Arena(loadKernels({ kernels: choice, memory: createMemory(1 << 20) }));
  const loaded = loadProgram(arena, compiled);
  const region = (name: string, floats: number): Float32Array =>
    arena.f32(loaded.bases[compiled.regions.findIndex((each) => each.name === name)]!, floats);
  for (const [name, floats, seed] of [
    ['a', M * K, 1],
    ['b', K * N, 2],
  ] as const) {
    const values = region(name, floats);
    let state = seed;
    for (let i = 0; i < floats; i++) {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      values[i] = ((state >>> 8) - 2 ** 23) / 2 ** 22;
    }
  }
  loaded.run();
  const hash = createHash('sha256');
  for (const [name, floats] of [
    ['product', M * N],
    ['rows', M],
    ['columns', N],
  ] as const)
    hash.update(region(name, floats).slice());
  return hash.digest('hex');
}
