/** Profiles of nodes: what their threads did in some steps, sent as data, and put together by the coordinator. */

import { gunzipSync, gzipSync } from 'node:zlib';
import { wallClock } from '@lockstep/sync';
import {
  type ChromeTrace,
  type ClusterStep,
  chromeTrace,
  type KernelCost,
  NETWORK,
  type ProfiledBatch,
  ProfileTrace,
  STEPS,
  type TraceEvent,
} from '@lockstep/trainer';
import { z } from 'zod';

/** Steps that nodes measure: of these the trace shows the last few. */
const MEASURED = 25;
/** Steps before the end of a run in which profiles are on their way. */
const SPARE = 3;
/** Bytes of a profile, packed and not; of all profiles that a coordinator takes, unpacked; how many it takes. */
const MOST = { packed: 1 << 20, plain: 1 << 26, allPlain: 1 << 27, profiles: 4096 };

const text = z.string().max(2000);
const amount = z.number().min(0).max(1e18);
const slice = z.strictObject({
  name: text,
  ph: z.literal('X'),
  pid: z.int(),
  tid: z.int().min(0).max(NETWORK),
  ts: z.number(),
  dur: amount,
  cat: text,
  args: z.record(text, z.union([text, z.number(), z.null()])),
});
const profile = z.strictObject({
  batches: amount,
  milliseconds: amount,
  costs: z.array(
    z.strictObject({
      ...{ label: text, kernel: text, calls: amount, milliseconds: amount, flops: amount, bytes: amount },
      activity: z.enum(['data', 'forward', 'backward', 'update', 'wait', 'record']),
    }),
  ),
  slices: z.array(slice),
});
type Profile = z.infer<typeof profile>;

/** What a node notes of the steps that it is asked to measure. */
export class NodeProfile {
  #from = 0;
  #to = 0;
  #trace: ProfileTrace | undefined;
  readonly #moved: TraceEvent[] = [];

  /** Nothing is measured twice. */
  measure(from: number, to: number): void {
    if (this.#from === from && this.#to === to) return;
    [this.#from, this.#to] = [from, to];
    this.#trace = new ProfileTrace();
    this.#moved.length = 0;
  }

  wants(step: number): boolean {
    return this.#trace !== undefined && step >= this.#from && step < this.#to;
  }

  readonly add = (batch: ProfiledBatch): void => this.#trace?.add(batch);

  moved(what: 'weights' | 'gradients', step: number, from: number, to: number): void {
    if (!this.wants(step)) return;
    const name = what === 'weights' ? `weights of step ${step} come` : `gradients of step ${step} leave`;
    this.#moved.push({
      ...{ name, cat: 'network', ph: 'X', pid: 1, tid: NETWORK, args: {} },
      ...{ ts: from * 1000, dur: (to - from) * 1000 },
    });
  }

  take(): Uint8Array | undefined {
    const trace = this.#trace;
    if (trace === undefined) return undefined;
    this.#trace = undefined;
    const slices = trace.slices();
    const begin = slices.reduce((least, { ts }) => Math.min(least, ts ?? 0), Number.POSITIVE_INFINITY);
    const { batches, milliseconds } = trace;
    const found = { batches, milliseconds, costs: trace.costs() };
    const moved = this.#moved.filter(({ ts = 0, dur = 0 }) => ts + dur >= begin);
    const packed = packProfile({ ...found, slices: [...slices, ...moved] });
    // Of very many threads, what they cost but not when.
    return packed.length <= MOST.packed ? packed : packProfile({ ...found, slices: [] });
  }
}

const packProfile = (found: object): Uint8Array => gzipSync(JSON.stringify(found));

/** Throws an Error on bytes that aren't a profile, or that become more than `most` bytes. */
function unpackProfile(bytes: Uint8Array, most: number): { profile: Profile; plainBytes: number } {
  const plain = gunzipSync(bytes, { maxOutputLength: Math.min(MOST.plain, Math.max(1, most)) });
  return { profile: profile.parse(JSON.parse(plain.toString('utf8'))), plainBytes: plain.length };
}

/** The profile of a run on a cluster: give it to `serve`, then ask it. */
export class ClusterProfile {
  readonly #nodes: { readonly name: string; readonly ahead: number; readonly profile: Profile }[] = [];
  readonly #steps: { readonly step: number; readonly end: number; readonly how: ClusterStep['time'] }[] = [];

  /** Of all profiles that were taken, unpacked. */
  #plainBytes = 0;

  #to = 0;

  /** Steps that are measured, of a run that begins with one and has so many. */
  window(begin: number, steps: number): { readonly from: number; readonly to: number } {
    this.#to = Math.max(begin, Math.min(begin + MEASURED, steps - SPARE));
    return { from: begin, to: this.#to };
  }

  /** A step is over. */
  step(step: number, how: ClusterStep['time']): void {
    if (step < this.#to) this.#steps.push({ step, end: wallClock(), how });
  }

  /**
   * What a node sent is not trusted: bytes that aren't a profile are left out, and so is what nodes send that join again and
   * again, or whose profiles unpack to more than all may together.
   */
  node(name: string, bytes: Uint8Array, ahead: number): void {
    if (this.#nodes.length >= MOST.profiles) return;
    try {
      const { profile, plainBytes } = unpackProfile(bytes, MOST.allPlain - this.#plainBytes);
      this.#plainBytes += plainBytes;
      this.#nodes.push({ name, ahead, profile });
    } catch {
      this.#nodes.push({
        name: `${name}: no profile`,
        ahead: 0,
        profile: { batches: 0, milliseconds: 0, costs: [], slices: [] },
      });
    }
  }

  /** Of all nodes together. */
  get batches(): number {
    return this.#nodes.reduce((sum, { profile }) => sum + profile.batches, 0);
  }

  get milliseconds(): number {
    return this.#nodes.reduce((sum, { profile }) => sum + profile.milliseconds, 0);
  }

  /** The most expensive first. */
  costs(): KernelCost[] {
    const all = new Map<string, { -readonly [K in keyof KernelCost]: KernelCost[K] }>();
    for (const cost of this.#nodes.flatMap(({ profile }) => profile.costs)) {
      const key = `${cost.activity} ${cost.kernel} ${cost.label}`;
      const sum = all.get(key) ?? { ...cost, calls: 0, milliseconds: 0, flops: 0, bytes: 0 };
      all.set(key, sum);
      for (const field of ['calls', 'milliseconds', 'flops', 'bytes'] as const) sum[field] += cost[field];
    }
    return [...all.values()].sort((a, b) => b.milliseconds - a.milliseconds);
  }

  /** The coordinator with its steps, then each node with its workers and its network, on the coordinator's clock. */
  trace(name: string): ChromeTrace {
    const nodes = this.#nodes.map(({ name, ahead, profile }) => ({ name, ahead, slices: profile.slices }));
    const begin = Math.min(
      ...nodes.flatMap(({ ahead, slices }) => slices.slice(0, 1).map(({ ts }) => ts / 1000 - ahead)),
    );
    const slices = this.#steps
      .filter(({ end }) => end >= begin)
      .map(({ step, end, how }): TraceEvent => {
        const dur = 1000 * (how.compute + how.wait + how.network + how.update);
        const args = { ...how, unit: 'ms' };
        return {
          ...{ name: `step ${step}`, cat: 'step', ph: 'X', pid: 1, tid: STEPS, args },
          ts: 1000 * end - dur,
          dur,
        };
      });
    return chromeTrace([{ name: `${name}: coordinator`, ahead: 0, slices }, ...nodes]);
  }
}
