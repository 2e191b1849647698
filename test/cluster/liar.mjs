/**
 * A node that gives wrong results: as a process (`node liar.mjs URL KIND FROM NAME SHARD_MS FILE`: of those
 * with one FILE, the first that has work in batch FROM or later lies in each batch from then on), and as a
 * wrapper of what a node computes.
 */
import { closeSync, openSync } from 'node:fs';
import { setTimeout } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { arithmeticProof, Engines, newNodeId } from '@lockstep/cluster';
import { resolveVariant } from '@lockstep/kernels';
import { dial, NodeDriver } from '@lockstep/sync';

export const LIES = ['scaled', 'one bit', 'stale', 'zeros', 'another unit'];

/** What is sent instead of a unit's vector; undefined: there is nothing to lie with yet. */
function lieOf(kind, vector, gradient, last) {
  const lie = Float32Array.from(vector);
  const part = lie.subarray(gradient);
  if (kind === 'scaled') part.set(part.map((value) => value * 1.25));
  else if (kind === 'huge') part.set(part.map((value) => value * 1e36));
  else if (kind === 'zeros') part.fill(0);
  else if (kind === 'stale') return last;
  else if (kind === 'one bit') {
    const at = part.findIndex((value) => Math.abs(value) > 1e-3);
    if (at < 0) return undefined;
    new Uint32Array(part.buffer, part.byteOffset, part.length)[at] ^= 1;
  }
  return lie;
}

/** The neighbour in the shard tree; the first half of a unit that has none of its size. */
const neighbour = ({ lo, hi }, shards) => {
  const size = hi - lo;
  const other = lo ^ size;
  return other + size <= shards ? { lo: other, hi: other + size } : { lo, hi: lo + Math.ceil(size / 2) };
};

/** A NodeWork that lies in the batches that `lies` names. `told` hears of each lie. `shardMs`: a shard takes this much longer. */
export function lyingWork(work, { kind, lies = () => true, told = () => {}, shardMs = 0 }) {
  let last;
  const compute = async (step, units, done) => {
    const isLying = lies(step);
    const other = isLying && kind === 'another unit';
    const asked = other ? units.map((unit) => neighbour(unit, work.shardsOf(step))) : units;
    const results = [];
    let buckets = [];
    await work.compute(step, asked, ({ vector }, those, release) => {
      buckets.push(...those);
      if (!release) return;
      results.push({ vector, buckets, release });
      buckets = [];
    });
    // After computing: meanwhile another model may have come.
    const shards = units.reduce((sum, { lo, hi }) => sum + hi - lo, 0);
    if (shardMs > 0) await setTimeout(shardMs * shards);
    for (const [n, { vector: truth, buckets: all, release }] of results.entries()) {
      const unit = units[n];
      let vector = truth;
      if (isLying) vector = other ? truth : lieOf(kind, truth, work.vector.gradient, last);
      last = Float32Array.from(truth);
      if (isLying && vector) told(step, unit);
      done({ unit, vector: vector ?? truth }, all, release);
    }
  };
  return new Proxy(work, {
    get(target, name) {
      if (name === 'compute') return compute;
      const value = Reflect.get(target, name, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

/** A node at work that lies. */
export function startLiar({ dial: dialing, id, name, workers, kernels, report, ...how }) {
  const engines = new Engines({ workers, kernels });
  return new NodeDriver({
    hello: {
      ...{ id: id ?? newNodeId(), name, workers, kernels },
      ...{ arithmetic: 'strict', proof: arithmeticProof(kernels) },
    },
    config: { backoff: { first: 50, longest: 1000 }, patience: 5000 },
    dial: dialing,
    prepare: async (welcome, fetch) => lyingWork(await engines.prepare(welcome, fetch), how),
    ...(report && { report }),
    close: () => engines.close(),
  });
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const [, , url, kind, from, name, shardMs, claim] = process.argv;
  let isLiar;
  /** Whether it is the first of all that has work then: they agree by a file that only one can make. */
  const claims = () => {
    try {
      closeSync(openSync(claim, 'wx'));
      say({ type: 'liar' });
      return true;
    } catch {
      return false;
    }
  };
  const say = (event) => process.stdout.write(`${JSON.stringify(event)}\n`);
  const node = startLiar({
    dial: (accept) => dial({ url, timeout: 5000 }, accept),
    ...{ name, workers: 1, kernels: resolveVariant('auto'), kind, shardMs: Number(shardMs) },
    lies: (step) => {
      if (step < Number(from)) return false;
      isLiar ??= claims();
      return isLiar;
    },
  });
  node.ended.then(
    (outcome) => say({ type: 'ended', ...outcome }),
    (error) => say({ type: 'refused', code: error.code, message: error.message }),
  );
}
