/** Audits without a cluster: pieces in, verdicts out. What this process computes is [batch, lo, hi, bucket] in each bucket. */
import { crc32 } from '@lockstep/kernels';
import { describe, expect, it } from 'vitest';
import { Auditor } from './auditor.ts';
import { AuditDraw } from './draw.ts';
import { Standing } from './standing.ts';

const BUCKETS = [0, 1, 2].map((i) => ({ from: 4 * i, to: 4 * i + 4 }));
const unit = { lo: 0, hi: 2 };
const other = { lo: 2, hi: 4 };
type Unit = typeof unit;

const truth = (batch: number, { lo, hi }: Unit, bucket: number): Float32Array =>
  Float32Array.of(batch, lo, hi, bucket);
const checksum = (value: Float32Array): number => crc32(new Uint8Array(value.buffer));

/** Sessions are nodes of the same number; session 9 is this process's own. */
function auditorOf(rate: number, secret?: Uint8Array) {
  const computed: string[] = [];
  const auditor = new Auditor({
    ...{ rate, secret, buckets: BUCKETS },
    nodeOf: (session) => ({ id: `id ${session}`, name: `node ${session}`, isOwn: session === 9 }),
    recompute: async (batch, { lo, hi }) => {
      computed.push(`${batch}: ${lo} to ${hi}`);
      return Float32Array.from(BUCKETS.flatMap((_, bucket) => [...truth(batch, { lo, hi }, bucket)]));
    },
  });
  const piece = (session: number, step: number, of: Unit, bucket: number, value?: Float32Array) => {
    const sent = value ?? truth(step, of, bucket);
    return { session, step, unit: of, bucket, value: sent, checksum: checksum(sent) };
  };
  /** Buckets of a unit, which are the first to come; `wrong` is one of them. */
  const sends = (session: number, step: number, of: Unit, wrong?: number, buckets = [0, 1, 2]): void => {
    for (const bucket of buckets) {
      const value = bucket === wrong ? Float32Array.of(1, 2, 3, 4.5) : undefined;
      auditor.arrived(piece(session, step, of, bucket, value), { kind: 'kept', isUnitWhole: bucket === 2 });
    }
  };
  /** A duplicate of bucket 1 that differs from what `first` sent. */
  const differs = (first: number, sent: Float32Array, session: number, step: number, value?: Float32Array) =>
    auditor.arrived(piece(session, step, unit, 1, value), {
      ...{ kind: 'conflict', first, checksum: checksum(sent), isUnitWhole: true },
    });
  return { auditor, computed, sends, differs };
}

const WRONG = Float32Array.of(7, 7, 7, 7);

/** Other numbers with the same CRC-32: it is linear over bits, so some set of flipped bits changes nothing in it. */
function collision(value: Float32Array): Float32Array {
  const flip = (bits: bigint): Float32Array => {
    const bytes = new Uint8Array(value.slice().buffer);
    for (let i = 0; i < 8 * bytes.length; i++) if ((bits >> BigInt(i)) & 1n) bytes[i >> 3]! ^= 1 << (i & 7);
    return new Float32Array(bytes.buffer);
  };
  const before = checksum(value);
  // By leading bit of what they change in the checksum.
  const basis = new Map<number, { change: number; bits: bigint }>();
  for (let i = 0; ; i++) {
    let bits = 1n << BigInt(i);
    let change = (checksum(flip(bits)) ^ before) >>> 0;
    while (change !== 0) {
      const known = basis.get(Math.clz32(change));
      if (known === undefined) {
        basis.set(Math.clz32(change), { change, bits });
        break;
      }
      change = (change ^ known.change) >>> 0;
      bits ^= known.bits;
    }
    if (change === 0) return flip(bits);
  }
}

describe('an audited unit', () => {
  it('that agrees lets the batch go on', async () => {
    const { auditor, computed, sends } = auditorOf(1);
    sends(1, 0, unit);
    sends(2, 0, other);
    expect(await auditor.settle(0)).toBe(undefined);
    expect(computed).toEqual(['0: 0 to 2', '0: 2 to 4']);
    expect(auditor.counts).toEqual({ units: 2, audited: 2 });
    expect(auditor.standing.doubts()).toEqual([]);
  });

  it.each([0, 1, 2])('whose bucket %i is wrong names who sent it', async (bucket) => {
    const { auditor, sends } = auditorOf(1);
    sends(1, 5, unit);
    sends(2, 5, other, bucket);
    const verdict = await auditor.settle(5);
    expect(verdict).toMatchObject({
      reason: 'audit',
      back: 5,
      lies: [{ id: 'id 2', batch: 5, lo: 2, hi: 4 }],
    });
    expect(auditor.standing.isRefused('id 2')).toBe(true);
    expect(auditor.standing.isRefused('id 1')).toBe(false);
  });

  it('of a node that is gone before it had sent all of it is audited as far as it came', async () => {
    const { auditor, sends } = auditorOf(1);
    sends(2, 0, unit, 0, [0]);
    sends(1, 0, { lo: 0, hi: 1 }, undefined, [0, 1, 2]);
    expect(await auditor.settle(0)).toMatchObject({ lies: [{ id: 'id 2' }] });
  });

  it('is compared by more than the checksum of its frames, which a liar chooses', async () => {
    const { auditor } = auditorOf(1);
    const value = collision(truth(0, unit, 0));
    expect(value).not.toEqual(truth(0, unit, 0));
    expect(checksum(value)).toBe(checksum(truth(0, unit, 0)));
    const forged = { session: 1, step: 0, unit, bucket: 0, value, checksum: checksum(value) };
    auditor.arrived(forged, { kind: 'kept', isUnitWhole: true });
    expect(await auditor.settle(0)).toMatchObject({ lies: [{ id: 'id 1' }] });
  });

  it('of this process is not computed again', async () => {
    const { auditor, computed, sends } = auditorOf(1);
    sends(9, 0, unit);
    expect(await auditor.settle(0)).toBe(undefined);
    expect(computed).toEqual([]);
  });
});

describe('who is found lying', () => {
  it('is in doubt since its last unit that agreed, and nobody else is', async () => {
    // Nothing is drawn: which units are audited is said by whom is suspected.
    const { auditor, sends } = auditorOf(0);
    for (const batch of [0, 1, 2]) {
      sends(1, batch, unit);
      sends(2, batch, other);
      expect(await auditor.settle(batch)).toBe(undefined);
    }
    expect(auditor.standing.doubts()).toEqual([0]);
    auditor.standing.suspect('id 2');
    sends(1, 3, unit);
    sends(2, 3, other);
    expect(await auditor.settle(3)).toBe(undefined);
    expect([auditor.standing.since('id 1'), auditor.standing.since('id 2')]).toEqual([0, undefined]);
    sends(1, 4, unit);
    sends(2, 4, other, 1);
    expect(await auditor.settle(4)).toMatchObject({ back: 4, lies: [{ id: 'id 2' }] });
    auditor.rewound(0);
    expect(auditor.standing.doubts()).toEqual([]);
  });

  it('is in doubt since the batch itself where only some of its units there were audited', async () => {
    const secret = new Uint8Array(32);
    const draw = new AuditDraw(0.5, secret);
    const batches = Array.from({ length: 50 }, (_, batch) => batch);
    const at = batches.find((batch) => draw.isDrawn(batch, unit) && !draw.isDrawn(batch, other))!;
    const { auditor, sends } = auditorOf(0.5, secret);
    for (const batch of batches.slice(0, at + 1)) {
      sends(1, batch, unit);
      sends(1, batch, other);
      await auditor.settle(batch);
    }
    expect(auditor.standing.since('id 1')).toBe(at);
  });

  it('is audited in other batches when they are computed again', async () => {
    const { auditor, computed, sends } = auditorOf(0.5, new Uint8Array(32));
    const run = async (): Promise<readonly string[]> => {
      for (let batch = 0; batch < 50; batch++) {
        sends(1, batch, unit);
        await auditor.settle(batch);
      }
      return computed.splice(0);
    };
    const first = await run();
    auditor.rewound(0);
    const second = await run();
    expect(first.length).toBeGreaterThan(10);
    expect(second).not.toEqual(first);
  });

  it('costs those who come later their trust: all they send is audited', async () => {
    const { auditor, computed, sends } = auditorOf(0);
    sends(1, 0, unit);
    sends(2, 0, other);
    await auditor.settle(0);
    auditor.arrived(
      { session: 2, step: 1, unit: other, bucket: 0, value: WRONG, checksum: 0 },
      { kind: 'notFinite' },
    );
    sends(1, 1, unit);
    expect(await auditor.settle(1)).toMatchObject({ reason: 'notFinite', back: 0, lies: [{ id: 'id 2' }] });
    auditor.rewound(0);
    sends(1, 0, unit);
    sends(3, 0, other);
    expect(await auditor.settle(0)).toBe(undefined);
    expect(computed).toEqual(['0: 2 to 4']);
  });
});

describe('two results that differ', () => {
  const right = truth(0, unit, 1);
  it.each<[string, Float32Array, Float32Array, string[]]>([
    ['the first is wrong', WRONG, right, ['id 1']],
    ['the second is wrong', right, WRONG, ['id 2']],
    ['both are wrong', WRONG, Float32Array.of(8, 8, 8, 8), ['id 1', 'id 2']],
  ])('while the batch is open: %s', async (_, first, second, liars) => {
    const { auditor, differs } = auditorOf(0);
    const piece = { session: 1, step: 0, unit, bucket: 1, value: first, checksum: checksum(first) };
    auditor.arrived(piece, { kind: 'kept', isUnitWhole: true });
    differs(1, first, 2, 0, second);
    const verdict = await auditor.settle(0);
    expect(verdict?.lies.map(({ id }) => id)).toEqual(liars);
    expect(verdict?.back).toBe(liars.includes('id 1') ? 0 : undefined);
  });

  it('later: the batch is computed again, all of it audited', async () => {
    const { auditor, computed, sends, differs } = auditorOf(0);
    for (const batch of [0, 1]) {
      sends(1, batch, unit);
      expect(await auditor.settle(batch)).toBe(undefined);
    }
    differs(1, right, 2, 0, WRONG);
    sends(1, 2, unit);
    expect(await auditor.settle(2)).toMatchObject({ reason: 'conflict', back: 0, lies: [] });
    auditor.rewound(0);
    sends(1, 0, unit);
    expect(await auditor.settle(0)).toBe(undefined);
    expect(computed).toEqual(['2: 0 to 2', '0: 0 to 2']);
    // Both are suspects from now on, so the next time it is known at once who is wrong.
    sends(1, 1, unit);
    await auditor.settle(1);
    differs(1, truth(1, unit, 1), 2, 1, WRONG);
    await new Promise((resolve) => setImmediate(resolve));
    sends(1, 2, unit);
    expect(await auditor.settle(2)).toMatchObject({ back: undefined, lies: [{ id: 'id 2', batch: 1 }] });
  });

  it('one of them from this process: the other one is wrong', async () => {
    const { auditor, computed, differs } = auditorOf(0);
    differs(9, right, 2, 0, WRONG);
    expect(await auditor.settle(0)).toMatchObject({ lies: [{ id: 'id 2' }] });
    expect(computed).toEqual([]);
  });
});

describe('a run that diverges', () => {
  it('is computed again from the oldest doubt, audited, and fails only if it does so again', async () => {
    const { auditor, computed, sends } = auditorOf(1e-9);
    for (const batch of [0, 1, 2]) {
      sends(1, batch, unit);
      expect(await auditor.settle(batch)).toBe(undefined);
    }
    expect(auditor.diverged(3)).toEqual({ lies: [], reason: 'diverged', back: 0 });
    auditor.rewound(0);
    for (const batch of [0, 1, 2]) {
      sends(1, batch, unit);
      expect(await auditor.settle(batch)).toBe(undefined);
    }
    expect(computed.length).toBe(3);
    expect(auditor.diverged(3)).toBe(undefined);
  });

  it('fails at once where nothing is audited', async () => {
    const { auditor, sends } = auditorOf(0);
    sends(1, 0, unit);
    await auditor.settle(0);
    expect(auditor.diverged(1)).toBe(undefined);
  });
});

describe('the draw', () => {
  it('takes the part that was asked for, other units after going back, and others with another secret', () => {
    const drawn = (draw: AuditDraw): number[] =>
      Array.from({ length: 20_000 }, (_, batch) => batch).filter((batch) => draw.isDrawn(batch, unit));
    const [one, two] = [new AuditDraw(0.05, new Uint8Array(32)), new AuditDraw(0.05)];
    const first = drawn(one);
    expect(Math.abs(first.length - 1000)).toBeLessThan(160);
    expect(drawn(one)).toEqual(first);
    one.next();
    for (const others of [drawn(one), drawn(two)]) {
      expect(Math.abs(others.length - 1000)).toBeLessThan(160);
      expect(others.filter((batch) => first.includes(batch)).length).toBeLessThan(150);
    }
    expect(drawn(new AuditDraw(0))).toEqual([]);
    expect(drawn(new AuditDraw(1)).length).toBe(20_000);
  });
});

it('the standing of nodes that come and go in masses does not grow without end', () => {
  const standing = new Standing();
  for (let i = 0; i < 5000; i++) standing.contributed(`id ${i}`, i, 'none');
  expect(standing.doubts().length).toBeLessThanOrEqual(1024);
  expect(standing.since('id 4999')).toBe(4999);
});
