/** The formulas of docs/predict.md, beside cases that were worked out by hand. */
import { describe, expect, test } from 'vitest';
import { codecSpeed, jitterOf } from './costs.ts';
import { type Cluster, type Costs, PACKET, predict, slowest, unitsOf, unitTime } from './model.ts';

/** A vector of the parameters is 0.25 MB, one bucket: 1 ms of codec, and 1 ms of a link of 2 Gbit/s. */
const costs: Costs = {
  ...{ parameters: 62_500, batch: 64, shards: 8, sum: 1, apply: 3, rest: 2, busy: 1.25 },
  units: [
    { shards: 1, time: 10 },
    { shards: 4, time: 31 },
    { shards: 8, time: 60 },
  ],
  ...{ threads: { workers: 2, barrier: 0.5, transfer: 2 }, jitter: [1], encode: 0.25, decode: 0.25 },
};

/** Milliseconds of a bucket of 256 KiB. */
const V = 1.048576;

/** With bandwidths of what streams carry. */
const cluster = ({ bandwidth = 2e9, slowLinks, ...changes }: Partial<Cluster>): Cluster => ({
  ...{ nodes: 1, workers: 1, topology: 'star', weak: false, latency: 0.5, failures: 0 },
  ...changes,
  bandwidth: bandwidth * PACKET,
  slowLinks: slowLinks && { ...slowLinks, bandwidth: slowLinks.bandwidth * PACKET },
});

describe('a step by hand', () => {
  test.each<[string, Partial<Cluster>, number, Partial<Costs>?]>([
    ['one worker: 60 + (1 + 3) + 2', {}, 66],
    // Four shards each, slower side by side; two units to sum; two barriers, half the weights and half of a gradient moved.
    ['two workers: 31 · 1.25 + (2 · 1 + 3) / 2 · 1.25 + 2 + 2 · 0.5 + 2', { workers: 2 }, 46.875],
    // Three workers hold 3, 3, 2 shards: 1 + 2, 1 + 2, 2, so 5 units; a barrier of three costs twice that of two;
    // each reads 2/3 of the weights and a third of 4 gradients of others.
    ['three: (10 + 17) · 1.25 + (5 + 3) / 3 · 1.25 + 2 + 2 · 1 + 4', { workers: 3 }, 33.75 + 10 / 3 + 8],
    // Node: codec 1 + 1, out 1, in 1. Coordinator: in 2, codec 2 + 2, out 2. Update 2 · 1 + 3. All in one piece.
    ['a star of two: 31 + (2 + 1 + 1 + 2 + 4 + 2 + 5 + 2 · 0.5) + 2', { nodes: 2 }, 51],
    // Four buckets: all but the slowest stage counts a quarter. A vector takes 4 · V ms. Two thirds of computing are backward:
    // the slowest stage here, and not where the coordinator's link takes ten times as long.
    [
      'a star of two, four buckets',
      { nodes: 2, latency: 0 },
      31 + (4 * V * (4 + 8) + 5) / 4 + 2,
      { parameters: 4 * 65_536 },
    ],
    [
      'the same on a slow network',
      { nodes: 2, latency: 0, bandwidth: 2e8 },
      31 / 3 + 4 * V * 20 + (4 * V * (6 + 10 + 10 + 20) + 5 + 31 * (2 / 3)) / 4 + 2,
      { parameters: 4 * 65_536 },
    ],
    [
      'the same, with two workers each, whose gradients leave at the end',
      { nodes: 2, workers: 2, latency: 0, bandwidth: 2e8 },
      21.25 + 1 + 4 * V * 20 + (4 * V * (6 + 10 + 10 + 20) + 2.5) / 4 + 3 + 2,
      { parameters: 4 * 65_536 },
    ],
    // Each sends its gradient's other half and its own half of the weights: a vector out, a vector in.
    ['slices on two: 31 + (2 + 1 + 1 + 5 / 2 + 2 · 0.5) + 2', { nodes: 2, topology: 'sliced' }, 40.5],
    // Two workers in each of two nodes: two shards each, summed to one unit of the node before it leaves.
    [
      'a star of two with two workers: 17 · 1.25 + 2 / 2 + (12 + 5 / 2 + 1) + 3 + 2',
      { nodes: 2, workers: 2 },
      21.25 + 1 + 15.5 + 5,
    ],
    ['weak: 16 shards on two nodes', { nodes: 2, weak: true }, 60 + 18 + 2],
    ['a tenth of the bandwidth', { nodes: 2, bandwidth: 2e8 }, 31 + (2 + 10 + 10 + 20 + 4 + 20 + 5 + 1) + 2],
    [
      'one slow link',
      { nodes: 2, slowLinks: { count: 1, bandwidth: 2e8 } },
      31 + (2 + 10 + 10 + 2 + 4 + 2 + 5 + 1) + 2,
    ],
    // One of two is late with 1 − 0.5²; it takes twice as long.
    [
      'stragglers',
      { nodes: 2, stragglers: { probability: 0.5, times: 2 } },
      31 * (1 + 0.75 * (2 - 1)) + 18 + 2,
    ],
    // After four times the time another begins: five times at most.
    [
      'hopeless stragglers',
      { nodes: 2, stragglers: { probability: 0.5, times: 100 } },
      31 * (1 + 0.75 * (5 - 1)) + 18 + 2,
    ],
    // Each hour the machine is away for 5 s and repeats 15 s.
    ['a failure an hour', { failures: 1 }, 66 / (1 - 20 / 3600)],
    // Two nodes for 2 s and a step each, and the coordinator.
    ['failures of two nodes', { nodes: 2, failures: 2 }, 51 / (1 - (2 * 2 * 2.051 + 2 * 20) / 3600)],
    ['more failures than it can take', { failures: 200 }, Number.POSITIVE_INFINITY],
  ])('%s', (_, changes, expected, changed = {}) => {
    const { stepMilliseconds, parts } = predict({ ...costs, ...changed }, cluster(changes));
    expect(stepMilliseconds).toBeCloseTo(expected, 9);
    const sum = parts.compute + parts.exchange + parts.rest + parts.failures;
    expect(sum).toBeCloseTo(stepMilliseconds, 9);
  });

  test('throughput, speed-up, efficiency', () => {
    const found = predict(costs, cluster({ nodes: 2, weak: true }));
    expect(found).toMatchObject({ batch: 128, shards: 16, bound: 'compute' });
    expect(found.samplesPerSecond).toBeCloseTo(128_000 / 80, 9);
    expect(found.speedup).toBeCloseTo((2 * 66) / 80, 9);
    expect(found.efficiency).toBeCloseTo(66 / 80, 9);
  });

  test.each<[string, Partial<Cluster>]>([
    ['coordinator in', { nodes: 8, bandwidth: 2e7 }],
    ['coordinator codec', { nodes: 8, bandwidth: 2e12, latency: 0 }],
    ['node out', { nodes: 8, slowLinks: { count: 1, bandwidth: 2e6 } }],
    ['compute', { nodes: 8, topology: 'sliced' }],
  ])('is bound by: %s', (bound, changes) => expect(predict(costs, cluster(changes)).bound).toBe(bound));
});

// 64 buckets through a link that takes 40 ms for them, twice those of a vector; of 31 ms of computing, two thirds are hidden.
test('what is hidden behind a link is not what binds', () => {
  const quick = { ...costs, parameters: 64 * 65_536, sum: 0, encode: 1e9, decode: 1e9 };
  const bandwidth = (8000 * 2 * 4 * quick.parameters) / 40;
  const found = predict(quick, cluster({ nodes: 2, bandwidth, latency: 0 }));
  expect(found.bound).toBe('coordinator in');
  expect(found.stepMilliseconds).toBeGreaterThan(31 / 3 + 40);
  expect(predict(quick, cluster({ nodes: 2, bandwidth: 2 * bandwidth, latency: 0 })).bound).toBe('compute');
});

describe('from 1 to 10,000 nodes', () => {
  const sizes = [1, 2, 3, 7, 8, 16, 100, 1000, 10_000];

  test.each(sizes)('what %d slices send is what they receive', (nodes) => {
    const { nodeBytes } = predict(costs, cluster({ nodes, topology: 'sliced', weak: true }));
    expect(nodeBytes.in).toBeCloseTo(nodeBytes.out, 3);
  });

  test('a star saturates, slices go on, and neither is better than ideal', () => {
    for (const topology of ['star', 'sliced'] as const) {
      const found = sizes.map((nodes) => predict(costs, cluster({ nodes, topology, weak: true })));
      for (const { efficiency } of found) expect(efficiency).toBeGreaterThan(0);
      for (const { efficiency } of found) expect(efficiency).toBeLessThanOrEqual(1);
      expect(found.at(-1)!.efficiency < 0.01).toBe(topology === 'star');
    }
  });

  test('nodes without a shard change nothing', () => {
    const [eight, many] = [8, 10_000].map((nodes) => predict(costs, cluster({ nodes })));
    expect(many!.stepMilliseconds).toBe(eight!.stepMilliseconds);
    expect(many!.efficiency).toBeCloseTo((eight!.efficiency * 8) / 10_000, 12);
  });
});

describe('parts of it', () => {
  test.each([
    [1, [1]],
    [6, [2, 4]],
    [7, [1, 2, 4]],
    [8, [8]],
    [80_000, [128, 2048, 4096, 8192, 65_536]],
  ])('%d shards are %j', (shards, units) => expect(unitsOf(shards)).toEqual(units));

  test.each([
    [1, 10],
    [2, 17],
    [4, 31],
    [6, 45.5],
    [16, 120],
  ])('a unit of %d shards takes %d', (shards, time) => expect(unitTime(costs, shards)).toBeCloseTo(time, 9));

  test.each([
    [1, 1],
    [2, 1.25],
    [1000, 1.5],
  ])('the slowest of %d', (n, expected) => expect(slowest([0.5, 1.5], n)).toBeCloseTo(expected, 9));

  test('jitter is means of equally many, over the mean', () => {
    expect(jitterOf([[3, 1]])).toEqual([0.5, 1.5]);
    // What one piece is slower than the other is not jitter.
    expect(
      jitterOf([
        [3, 1],
        [30, 10],
      ]),
    ).toEqual([0.5, 0.5, 1.5, 1.5]);
    const many = jitterOf([Array.from({ length: 1000 }, (_, i) => i)]);
    expect(many).toHaveLength(256);
    expect(slowest(many, 1)).toBeCloseTo(1, 9);
    // Of two draws from 0 … 1 the larger is 2/3 in the mean.
    expect(slowest(many, 2)).toBeCloseTo(4 / 3, 2);
  });

  test('the codec has a speed', () => {
    const { encode, decode } = codecSpeed();
    expect(encode).toBeGreaterThan(0);
    expect(decode).toBeGreaterThan(0);
  });
});
