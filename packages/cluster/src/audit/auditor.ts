/**
 * Audits: a part of the units is computed a second time by the coordinator itself, and the bits must agree before the batch
 * counts. No sockets, no threads: what a unit gives is computed elsewhere.
 *
 * Note [Audits]: whether a unit is drawn is decided when its first piece is here, from a secret, and nothing that a node can see
 * depends on it before all of the batch is here: buckets are added, applied and published as ever, so that early weights don't
 * give away that nobody looks. What waits is the batch: the next one is opened when its audits agree, and neither a checkpoint
 * nor an event has anything of it before. Nodes compute the next batch meanwhile, as they always begin early, so waiting costs
 * little. If an audit fails, the run goes back (Note [Rewinding]), and what was published is thrown away with the sessions.
 *
 * Why the coordinator and not another node: two nodes with one token may be one attacker, and would agree with each other.
 */
import { createHash } from 'node:crypto';
import { crc32 } from '@lockstep/kernels';
import type { Arrival, Bucket, NotFinite, Piece, ShardRange } from '@lockstep/sync';
import type { AuditCounts } from '@lockstep/trainer';
import { AuditDraw } from './draw.ts';
import { Standing } from './standing.ts';

export interface AuditorOptions {
  /** The part of the units that are computed a second time, 0 to 1. */
  readonly rate: number;
  /** How a unit's results are cut. */
  readonly buckets: readonly Bucket[];
  /** A unit's results on the model before the batch, computed here; good until the next call. */
  readonly recompute: (batch: number, unit: ShardRange) => Promise<Float32Array>;
  /** The node of a session: its id, its name, and whether it is part of this process, which is not audited. */
  readonly nodeOf: (session: number) => AuditedNode | undefined;
  /** Default: random. */
  readonly secret?: Uint8Array | undefined;
}

export interface AuditedNode {
  readonly id: string;
  readonly name: string;
  readonly isOwn: boolean;
}

export type LieReason = 'audit' | 'conflict' | 'notFinite';

/** Wrong results of a unit. */
export interface Lie extends ShardRange {
  readonly id: string;
  readonly name: string;
  readonly batch: number;
  readonly reason: LieReason;
}

/** What has to be done before the run may go on. */
export interface Verdict {
  readonly lies: readonly Lie[];
  readonly reason: LieReason | 'diverged';
  /** Batches from this one on have to be computed again; undefined: nobody who lied contributed anything. */
  readonly back: number | undefined;
}

/** A unit of a batch, as it came. */
interface Unit extends ShardRange {
  isAudited: boolean;
  /** By session: the node, and by bucket the hash of what came; null: it came before the unit was to be audited. */
  readonly pieces: Map<number, { readonly node: AuditedNode; readonly hashes: (string | null)[] }>;
  /** Pieces that contradict one another. */
  readonly disputes: Dispute[];
  /** What this process computed, by bucket. */
  truth?: Promise<readonly Truth[]>;
  /** Everything that came was compared. */
  isSettled: boolean;
}

interface Truth {
  readonly hash: string;
  readonly checksum: number;
}

interface Dispute {
  readonly bucket: number;
  readonly first: { readonly node: AuditedNode | undefined; readonly checksum: number };
  readonly second: { readonly node: AuditedNode | undefined; readonly hash: string };
}

/** Batches whose audits are remembered for late duplicates. */
const REMEMBERED = 4;

export class Auditor {
  readonly standing = new Standing();
  readonly #options: AuditorOptions;
  readonly #draw: AuditDraw;
  /** By batch and unit. */
  readonly #batches = new Map<number, Map<string, Unit>>();
  /** Everything before this batch is audited. */
  #auditedUntil = 0;
  /** The last batch that was settled. */
  #settled = -1;
  /** Found since the last batch was settled. */
  #lies: Lie[] = [];
  #doubt: { readonly batch: number; readonly reason: LieReason } | undefined;
  #units = 0;
  #audited = 0;

  constructor(options: AuditorOptions) {
    this.#options = options;
    this.#draw = new AuditDraw(options.rate, options.secret);
  }

  get counts(): Pick<AuditCounts, 'units' | 'audited'> {
    return { units: this.#units, audited: this.#audited };
  }

  /** A piece of a unit is here, and this became of it. */
  arrived(piece: Piece<Float32Array>, arrival: Arrival<unknown> | NotFinite): void {
    if (arrival.kind === 'kept') this.#kept(piece, arrival.isUnitWhole);
    else if (arrival.kind === 'conflict') this.#conflict(piece, arrival);
    else if (arrival.kind === 'notFinite') {
      const node = this.#options.nodeOf(piece.session);
      if (node) this.#lied(node, piece.step, piece.unit, 'notFinite');
    }
  }

  #kept({ session, step, unit, bucket, value }: Piece<Float32Array>, isUnitWhole: boolean): void {
    const node = this.#options.nodeOf(session);
    // What another node computed, too, may come when the batch is over: then nobody uses it.
    if (node === undefined || node.isOwn || step <= this.#settled) return;
    const known = this.#unitOf(step, unit);
    known.isAudited ||=
      step < this.#auditedUntil || this.standing.isSuspect(node.id) || this.#draw.isDrawn(step, unit);
    const sent = known.pieces.get(session) ?? { node, hashes: [] };
    known.pieces.set(session, sent);
    sent.hashes[bucket] = known.isAudited ? hashOf(value) : null;
    if (isUnitWhole && known.isAudited) this.#compute(step, known);
  }

  #conflict(
    { session, step, unit, bucket, value }: Piece<Float32Array>,
    { first, checksum }: Arrival<unknown> & { kind: 'conflict' },
  ): void {
    const known = this.#unitOf(step, unit);
    const { nodeOf } = this.#options;
    const [one, other] = [known.pieces.get(first)?.node ?? nodeOf(first), nodeOf(session)];
    // What this process computed is right.
    if (one?.isOwn && other) this.#lied(other, step, unit, 'conflict');
    else if (other?.isOwn && one) this.#lied(one, step, unit, 'conflict');
    else if (step > this.#settled || known.truth) {
      known.isAudited = true;
      known.isSettled = false;
      known.disputes.push({
        bucket,
        first: { node: one, checksum },
        second: { node: other, hash: hashOf(value) },
      });
      // Where the batch is over, what is known of it tells.
      if (step <= this.#settled) void this.#settleDisputes(step, known);
    } else {
      // The model of that batch is gone: it is computed again, and all that leads to it is audited.
      for (const node of [one, other]) if (node) this.standing.suspect(node.id);
      this.#doubt = { batch: Math.min(step, this.#doubt?.batch ?? step), reason: 'conflict' };
    }
  }

  #unitOf(batch: number, { lo, hi }: ShardRange): Unit {
    let units = this.#batches.get(batch);
    if (units === undefined) {
      units = new Map();
      this.#batches.set(batch, units);
      for (const old of this.#batches.keys()) if (old <= batch - REMEMBERED) this.#batches.delete(old);
    }
    const key = keyOf({ lo, hi });
    const known = units.get(key) ?? {
      ...{ lo, hi, isAudited: false, isSettled: false },
      ...{ pieces: new Map(), disputes: [] },
    };
    units.set(key, known);
    return known;
  }

  #compute(batch: number, unit: Unit): Promise<readonly Truth[]> {
    unit.truth ??= this.#options.recompute(batch, unit).then((vector) =>
      this.#options.buckets.map(({ from, to }) => {
        const values = vector.subarray(from, to);
        return { hash: hashOf(values), checksum: crc32(bytesOf(values)) };
      }),
    );
    // Waited for when the batch is settled.
    unit.truth.catch(() => {});
    return unit.truth;
  }

  /** All units of a batch are here. Settles when its audits are done: undefined where all agree. */
  async settle(batch: number): Promise<Verdict | undefined> {
    const units = (): Unit[] => [...(this.#batches.get(batch)?.values() ?? [])];
    for (;;) {
      // More may come while one is computed: duplicates that differ.
      const unit = units().find(({ isAudited, isSettled }) => isAudited && !isSettled);
      if (unit === undefined) break;
      const truth = await this.#compute(batch, unit);
      unit.isSettled = true;
      for (const { node, hashes } of unit.pieces.values()) {
        const isWrong = hashes.some((hash, bucket) => hash !== null && hash !== truth[bucket]?.hash);
        if (isWrong) this.#lied(node, batch, unit, 'audit');
      }
      await this.#settleDisputes(batch, unit);
    }
    this.#settled = batch;
    this.#note(batch, units());
    return this.#verdict();
  }

  /** Who of two is wrong, as this process computes it; maybe both. */
  async #settleDisputes(batch: number, unit: Unit): Promise<void> {
    const truth = await unit.truth?.catch(() => undefined);
    if (!truth) return;
    for (const { bucket, first, second } of unit.disputes.splice(0)) {
      const { hash, checksum } = truth[bucket]!;
      if (first.node && first.checksum !== checksum) this.#lied(first.node, batch, unit, 'conflict');
      if (second.node && second.hash !== hash) this.#lied(second.node, batch, unit, 'conflict');
    }
  }

  #lied({ id, name, isOwn }: AuditedNode, batch: number, { lo, hi }: ShardRange, reason: LieReason): void {
    if (isOwn || this.standing.isRefused(id) || this.#lies.some((lie) => lie.id === id)) return;
    this.#lies.push({ id, name, batch, lo, hi, reason });
  }

  /** What each node contributed to a batch. */
  #note(batch: number, units: readonly Unit[]): void {
    const byNode = new Map<string, boolean[]>();
    for (const { pieces } of units) {
      for (const { node, hashes } of pieces.values()) {
        this.#units++;
        const isAudited = hashes.every((hash) => hash !== null);
        if (isAudited) this.#audited++;
        byNode.set(node.id, [...(byNode.get(node.id) ?? []), isAudited]);
      }
    }
    for (const [id, audited] of byNode) {
      const how = audited.every(Boolean) ? 'all' : audited.some(Boolean) ? 'some' : 'none';
      // Who lied in this batch is in doubt since its last one that agreed.
      if (!this.#lies.some((lie) => lie.id === id)) this.standing.contributed(id, batch, how);
    }
  }

  #verdict(): Verdict | undefined {
    const [lies, doubt] = [this.#lies, this.#doubt];
    if (lies.length === 0 && doubt === undefined) return undefined;
    this.#lies = [];
    this.#doubt = undefined;
    const backs = lies.flatMap(({ id, batch: at }) => {
      const since = this.standing.since(id);
      // A duplicate was never used.
      return since ?? (this.#wasUsed(at, id) ? at : []);
    });
    if (doubt) {
      backs.push(doubt.batch);
      this.#auditedUntil = Math.max(this.#auditedUntil, doubt.batch + 1);
    }
    for (const { id } of lies) this.standing.refuse(id);
    const reason = lies[0]?.reason ?? doubt!.reason;
    return { lies, reason, back: backs.length === 0 ? undefined : Math.min(...backs) };
  }

  #wasUsed(batch: number, id: string): boolean {
    const units = [...(this.#batches.get(batch)?.values() ?? [])];
    return units.some(({ pieces }) => [...pieces.values()].some(({ node }) => node.id === id));
  }

  /**
   * Numbers of a batch are not finite, and this process finds the same: maybe because of a lie that nobody saw. Then batches
   * from the oldest one in doubt are computed again, once, and all of them audited. Undefined: there is no doubt.
   */
  diverged(batch: number): Verdict | undefined {
    const [oldest] = this.standing.doubts();
    const back = oldest ?? batch;
    if (
      batch < this.#auditedUntil ||
      this.#options.rate <= 0 ||
      (oldest === undefined && !this.#isMixed(batch))
    )
      return undefined;
    this.#auditedUntil = batch + 1;
    return { lies: [], reason: 'diverged', back: Math.min(back, batch) };
  }

  /** Whether something of a batch came from other processes, and was not audited. */
  #isMixed(batch: number): boolean {
    const units = [...(this.#batches.get(batch)?.values() ?? [])];
    return units.some(({ pieces, isAudited }) => pieces.size > 0 && !isAudited);
  }

  /** The run has gone back: the next batch is this one, and nodes have new sessions. */
  rewound(batch: number): void {
    this.#batches.clear();
    this.#settled = batch - 1;
    this.#draw.next();
    this.standing.rewound(batch);
  }
}

const keyOf = ({ lo, hi }: ShardRange): string => `${lo} ${hi}`;

const bytesOf = ({ buffer, byteOffset, byteLength }: Float32Array): Uint8Array =>
  new Uint8Array(buffer, byteOffset, byteLength);

/** Collision-free, unlike a frame's checksum: a lie can be made to have any CRC. */
const hashOf = (values: Float32Array): string =>
  createHash('sha256').update(bytesOf(values.slice())).digest('base64');
