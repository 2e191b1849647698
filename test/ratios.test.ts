/**
 * The suites of bench/ as a guard: what is meant to be faster is, by a ratio that noise cannot flip; no test judges a time. Each
 * side counts with its fastest step, as what else runs can only make steps longer, and both sides take turns. Where the first
 * rounds do not reach the bar, more rounds follow; the bar stays.
 */
import { Parameter, relu, type Tensor, Trace, withTrace } from '@lockstep/autograd';
import { compile } from '@lockstep/compiler';
import { Arena, createMemory, loadKernels, loadProgram, resolveVariant } from '@lockstep/kernels';
import { type TrainOptions, train } from '@lockstep/trainer';
import { cores } from '@lockstep/workers';
import { data, defineTraining, loss, nn, optim } from 'lockstep';
import { describe, expect, test } from 'vitest';

const ROUNDS = { least: 2, most: 15 };

type Side = () => number | Promise<number>;

/** Whether `slow` takes at least `bar` times as long as `fast` (ms). */
async function expectRatio(slow: Side, fast: Side, bar: number): Promise<void> {
  const best = { slow: Number.POSITIVE_INFINITY, fast: Number.POSITIVE_INFINITY };
  for (let round = 1; round <= ROUNDS.most; round++) {
    best.slow = Math.min(best.slow, await slow());
    best.fast = Math.min(best.fast, await fast());
    if (round >= ROUNDS.least && best.slow >= bar * best.fast) return;
  }
  expect(best.slow / best.fast).toBeGreaterThanOrEqual(bar);
}

const network = (batch: number, shards: number, hidden: number) =>
  defineTraining({
    ...{ batch, shards, dropLast: true, optimizer: optim.adam({ lr: 1e-3 }) },
    data: () => data.digits({ train: 1024, validation: 0 }),
    model: () => nn.sequential(nn.linear(784, hidden), nn.relu(), nn.linear(hidden, 10)),
    loss: (model, { image, label }) => loss.crossEntropy(model(image), label),
  });

/** Of so many steps the fastest (ms). */
async function fastestStep(
  definition: ReturnType<typeof network>,
  steps: number,
  options: TrainOptions,
): Promise<number> {
  let fastest = Number.POSITIVE_INFINITY;
  await train(
    { ...definition, steps },
    {
      ...options,
      profile: {
        depth: 'parts',
        onBatch: ({ moments }) => {
          const began = Math.max(...moments.map((own) => own[0]!));
          fastest = Math.min(fastest, Math.max(...moments.map((own) => own.at(-1)!)) - began);
        },
      },
    },
  );
  return fastest;
}

describe('what is meant to be faster', () => {
  test('many shards as one program, 1.5 times one at a time', () => {
    const definition = network(128, 64, 128);
    const side = (execution: 'coalesced' | 'separate') => () =>
      fastestStep(definition, 40, { workers: 1, execution });
    return expectRatio(side('separate'), side('coalesced'), 1.5);
  });

  test('a fused chain of elementwise ops, 2 times op by op', () => {
    const size = 1 << 20;
    const value = new Parameter(
      Float32Array.from({ length: size }, (_, i) => (i % 7) - 3),
      [size],
    );
    const chain = (x: Tensor): Tensor => {
      let y = x;
      for (let i = 0; i < 8; i++) y = relu(y.mul(0.5).add(1));
      return y;
    };
    const time = (fuse: boolean): Side => {
      const trace = new Trace();
      const node = trace.nodeOf(withTrace(trace, () => chain(value)));
      const { program, constants } = compile({
        ...{ segments: 1, fuse },
        outputs: [{ node, place: { region: 'out', offset: 0 }, reduce: 'none' }],
        bind: () => ({ kind: 'memory', region: 'in', offset: 0 }),
      });
      const arena = new Arena(loadKernels({ kernels: resolveVariant('auto'), memory: createMemory(0) }));
      const { bases, run } = loadProgram(arena, program);
      const at = program.regions.findIndex(({ name }) => name === 'constants');
      const bytes = new Uint8Array(constants.buffer, constants.byteOffset, constants.byteLength);
      if (at >= 0) arena.u8(bases[at]!, bytes.length).set(bytes);
      return () => {
        const began = performance.now();
        run();
        return performance.now() - began;
      };
    };
    return expectRatio(time(false), time(true), 2);
  });

  test.skipIf(cores() < 2)(
    `two workers, 1.3 times one${cores() < 2 ? ' (skipped: this machine has one core)' : ''}`,
    () => {
      // Steps so short that some run undisturbed on a machine that others use, too.
      const definition = network(256, 8, 256);
      const side = (workers: number) => () => fastestStep(definition, 200, { workers });
      return expectRatio(side(1), side(2), 1.3);
    },
  );
});
