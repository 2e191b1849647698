import { describe, expect, it } from 'vitest';
import { expectProblem, thrown } from '../../test/support.ts';
import { KeyedRandom } from '../common/random.ts';
import { Sampler, type SamplerOptions } from './sampler.ts';

describe('KeyedRandom', () => {
  it('draws below a bound without bias', () => {
    const random = new KeyedRandom(5, 1);
    const counts = [0, 0, 0];
    for (let i = 0; i < 30_000; i++) counts[random.below(3)]!++;
    // 10,000 each, with a standard deviation of 82.
    for (const count of counts) expect(Math.abs(count - 10_000)).toBeLessThan(400);
  });

  it('repeats draws past the last multiple of the bound', () => {
    // Of a bound just above 2^31 nearly every second draw must be repeated, yet all come out below it.
    const random = new KeyedRandom(5, 1);
    const bound = 2 ** 31 + 1;
    const draws = Array.from({ length: 1000 }, () => random.below(bound));
    expect(Math.max(...draws)).toBeLessThan(bound);
    expect(draws.reduce((sum, draw) => sum + draw, 0) / 1000 / bound).toBeCloseTo(0.5, 1);
  });
});

describe('Sampler', () => {
  const order = (options: Partial<SamplerOptions> = {}, epoch = 0): number[] => [
    ...new Sampler({ length: 10, batch: 4, seed: 1, ...options }).permutation(epoch),
  ];

  it('gives the orders written down when it was made', () => {
    expect(order()).toEqual([6, 9, 1, 4, 7, 2, 5, 8, 3, 0]);
    expect(order({}, 1)).toEqual([4, 0, 2, 3, 6, 8, 7, 5, 1, 9]);
  });

  it('depends on seed (all 53 bits) and epoch, not on batch or on what was asked before', () => {
    expect(order({ batch: 3 })).toEqual(order());
    const seeds = [0, 1, 2 ** 32, 2 ** 32 + 1, 2 ** 53 - 1];
    expect(new Set(seeds.map((seed) => order({ seed }).join())).size).toBe(seeds.length);
    const sampler = new Sampler({ length: 10, batch: 4, seed: 1 });
    sampler.permutation(7);
    expect([...sampler.permutation(1, new Int32Array(10))]).toEqual(order({}, 1));
  });

  it('is a permutation, and none is favoured', () => {
    const sampler = new Sampler({ length: 4, batch: 1, seed: 3 });
    const counts = new Map<string, number>();
    for (let epoch = 0; epoch < 24_000; epoch++) {
      const key = sampler.permutation(epoch).join();
      counts.set(key, (counts.get(key) ?? 0) + 1);
    }
    expect(counts.size).toBe(24);
    // χ² with 23 degrees of freedom: above 49.7 once in 1,000 seeds.
    const chi2 = [...counts.values()].reduce((sum, count) => sum + (count - 1000) ** 2 / 1000, 0);
    expect(chi2).toBeLessThan(49.7);
  });

  it('keeps the order when it does not shuffle', () => {
    expect(order({ shuffle: false }, 5)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  });

  it('ends an epoch by a short batch, or drops it', () => {
    const all = new Sampler({ length: 10, batch: 4 });
    expect(all.stepsPerEpoch).toBe(3);
    expect([...all.batches(2)]).toEqual([
      { epoch: 2, start: 0, rows: 4 },
      { epoch: 2, start: 4, rows: 4 },
      { epoch: 2, start: 8, rows: 2 },
    ]);
    const whole = new Sampler({ length: 10, batch: 4, dropLast: true });
    expect(whole.stepsPerEpoch).toBe(2);
    expect(whole.place(2)).toEqual({ epoch: 1, start: 0, rows: 4 });
    expect([...new Sampler({ length: 3, batch: 8 }).batches(0)]).toEqual([{ epoch: 0, start: 0, rows: 3 }]);
  });

  it.each([
    [{ length: 0 }, 'length is 0'],
    [{ batch: 0 }, 'batch is 0'],
    [{ batch: 1.5 }, 'batch is 1.5'],
    [{ seed: -1 }, 'seed is -1'],
    [{ length: 3, batch: 4, dropLast: true }, '3 rows give no batch of 4'],
  ])('refuses %j', (options, text) => {
    expectProblem(
      thrown(() => new Sampler({ length: 10, batch: 4, ...options })),
      'DATA_OPTION',
      text,
    );
  });
});
