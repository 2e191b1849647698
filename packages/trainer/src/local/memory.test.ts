/** The memory of a run against the least that training needs: weights, gradients, slots, and what backward reads again. */
import { arrays, column } from '@lockstep/data';
import { HEAP_BASE } from '@lockstep/kernels';
import { type Layer, loss, nn, optim } from '@lockstep/nn';
import { SharedHeap } from '@lockstep/workers';
import { describe, expect, test } from 'vitest';
import { activationBytes } from '../../test/activations.ts';
import { defineTraining, type TrainingDefinition } from '../define/definition.ts';
import { prepare } from '../define/prepare.ts';
import { RECORD_WORDS } from '../step/programs.ts';
import { traceStep } from '../step/trace.ts';
import { PlanBook } from './plans.ts';

const [TOKENS, WIDTH, SHARDS] = [65, 128, 8] as const;

const text = (rows: number, length: number) => {
  const values = Int32Array.from({ length: rows * length }, (_, i) => (i * 7) % TOKENS);
  const tokens = column(values, { shape: [length], classes: TOKENS });
  return arrays({ x: tokens, y: tokens });
};

interface Gpt {
  readonly batch: number;
  readonly length: number;
  readonly layers: number;
  readonly optimizer: optim.Optimizer;
}

const gpt = ({ batch, length, layers, optimizer }: Gpt): TrainingDefinition<nn.Module, 'x' | 'y'> =>
  defineTraining({
    ...{ batch, optimizer, shards: SHARDS },
    data: () => text(2 * batch, length),
    model: (): nn.Module =>
      nn.sequential(
        ...[nn.embedding(TOKENS, WIDTH), nn.learnedPositions(length, WIDTH)],
        ...Array.from({ length: layers }, (): Layer => nn.transformerBlock(WIDTH, 4, { causal: true })),
        ...[nn.layerNorm(WIDTH), nn.linear(WIDTH, TOKENS)],
      ),
    loss: (model, { x, y }) => loss.crossEntropy(model(x), y),
  });

/** Bytes that a run takes without its data, and what it cannot do without. */
async function memoryOf(definition: TrainingDefinition<nn.Module, 'x' | 'y'>, workers: number) {
  const prepared = await prepare(definition, {});
  const { layout, data } = prepared;
  const { optimizer, batch } = prepared.definition;
  const heap = new SharedHeap();
  const recordWords = RECORD_WORDS.scalars + optimizer.scalars.length;
  new PlanBook({ ...prepared, workers, coalesce: true }, heap, recordWords);
  const columns = Object.values(data.columns).reduce((bytes, { data }) => bytes + data.byteLength, 0);
  const step = traceStep(prepared.definition, prepared.model, layout, data, batch / SHARDS, true);
  const activations = SHARDS * activationBytes(step);
  const weights = 4 * layout.entries.reduce((sum, { size }) => sum + size, 0);
  return { used: heap.used - HEAP_BASE - columns, activations, weights, slots: optimizer.slots.length };
}

/** By hand, in numbers a token: of a block two norms with their inputs, q k v, attention, and the hidden layer twice. */
const byHand = ({ batch, length, layers }: Gpt): number =>
  4 * batch * length * (layers * 16 * WIDTH + 2 * WIDTH + TOKENS + 2);

describe('peak memory of training a GPT', () => {
  const four: Gpt = { batch: 32, length: 64, layers: 4, optimizer: optim.adam({ lr: 1e-3 }) };
  const long: Gpt = { batch: 8, length: 2048, layers: 1, optimizer: optim.adamw({ lr: 1e-3 }) };
  const clipped: Gpt = { ...four, batch: 16, optimizer: optim.adamw({ lr: 1e-3, clipNorm: 1 }) };

  test.for([
    ['4 layers, T = 64, batch 32', four],
    ['4 layers, T = 64, batch 16, clipped', clipped],
    ['1 layer, T = 2048, batch 8', long],
  ] as const)('%s', async ([, given], { annotate }) => {
    for (const workers of [1, 2, 8]) {
      const { used, activations, weights, slots } = await memoryOf(gpt(given), workers);
      // The graph keeps no more for its backward pass than one would by hand.
      expect(activations / byHand(given)).toBeLessThan(1.01);
      // Each worker has a gradient of its own: they are what is added up.
      const needed = weights * (1 + workers + slots) + activations;
      await annotate(
        `${workers} workers: ${(used / 2 ** 20).toFixed(1)} MiB, ${(used / needed).toFixed(3)} ×`,
      );
      expect(used / needed, `${workers} workers`).toBeLessThan(1.3);
    }
  });

  test('is linear in T: attention keeps no scores', async () => {
    const [short, tall] = await Promise.all(
      [512, 2048].map((length) => memoryOf(gpt({ ...long, length }), 1)),
    );
    expect(tall!.used / short!.used).toBeLessThan(4);
  });
});
