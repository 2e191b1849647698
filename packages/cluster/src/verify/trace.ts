/**
 * A trace: hashes of what one machine computed, shard by shard and tensor by tensor, as lines of JSON. Another machine
 * computes the same steps and finds the first hash that differs.
 */
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { DataError } from '@lockstep/data';
import { type BatchJob, type ExecutorState, type Prepared, version } from '@lockstep/trainer';
import { z } from 'zod';
import type { UnitVector } from '../wire/vectors.ts';
import type { ShardedListener } from './shardedExecutor.ts';

const FORMAT = 'lockstep trace 1';
const hash = z.string().regex(/^[0-9a-f]{16}$/);
const names = z.array(z.string());
const head = z.object({
  format: z.literal(FORMAT),
  lockstep: z.string(),
  /** Hash of the definition. */
  definition: z.string(),
  kernels: z.string(),
  /** Optimizer steps that were done before, and the state that they left; null: of the definition's own start. */
  from: z.strictObject({ step: z.int().min(0), state: z.string().nullable() }),
  /** What the hashes of a shard are of, and those of a step. */
  shardParts: names,
  stateParts: names,
});
const line = z.union([
  z.strictObject({ batch: z.int().min(0), step: z.int().min(1), shards: z.array(z.array(hash)) }),
  z.strictObject({ step: z.int().min(1), state: z.array(hash) }),
]);

export type TraceHead = z.infer<typeof head>;
export type TraceLine = z.infer<typeof line>;

export interface Trace {
  readonly head: TraceHead;
  readonly lines: readonly TraceLine[];
}

/** Throws DataError where the disk doesn't take it. */
export function writeTrace(path: string, { head: first, lines }: Trace): void {
  try {
    writeFileSync(path, [first, ...lines].map((each) => `${JSON.stringify(each)}\n`).join(''));
  } catch (error) {
    throw new DataError('DATA_UNREADABLE', `trace: cannot write ${path} (${(error as Error).message})`);
  }
}

/** Throws DataError where the file is not a trace. */
export function readTrace(path: string): Trace {
  const refuse = (why: string): never => {
    throw new DataError('DATA_FORMAT', `trace: ${path} ${why}; give a file that verify --trace wrote`);
  };
  let values: unknown[] = [];
  try {
    const text = readFileSync(path, 'utf8').trimEnd();
    values = text.split('\n').map((each): unknown => JSON.parse(each));
  } catch (error) {
    refuse(`can't be read (${(error as Error).message})`);
  }
  const first = head.safeParse(values[0]);
  const rest = z.array(line).safeParse(values.slice(1));
  if (!first.success) return refuse('is not a trace');
  if (!rest.success) return refuse(`is damaged in line ${Number(rest.error.issues[0]?.path[0]) + 2}`);
  return { head: first.data, lines: rest.data };
}

export const SUMS = 'loss and metrics';
export const STATISTICS = 'running statistics';

/** Makes the lines of a trace from what a ShardedExecutor computes. */
export class Tracer implements ShardedListener {
  readonly shardParts: readonly string[];
  readonly #prepared: Pick<Prepared<unknown, string>, 'layout'>;
  readonly #vector: () => UnitVector;
  readonly #line: (line: TraceLine, stateParts: readonly string[]) => void;
  #batch: { readonly batch: number; readonly step: number; readonly shards: string[][] } | undefined;

  /** `line`: takes each line as soon as it is whole. */
  constructor(
    prepared: Pick<Prepared<unknown, string>, 'layout'>,
    vector: () => UnitVector,
    line: (line: TraceLine, stateParts: readonly string[]) => void,
  ) {
    this.#prepared = prepared;
    this.#vector = vector;
    this.#line = line;
    this.shardParts = [SUMS, STATISTICS, ...prepared.layout.trained.map(({ name }) => name)];
  }

  shard({ index, step }: BatchJob, shard: number, vector: Float32Array): void {
    const { statistics, gradient } = this.#vector();
    this.#batch ??= { batch: index, step, shards: [] };
    this.#batch.shards[shard] = [
      hashOf(vector.subarray(0, statistics)),
      hashOf(vector.subarray(statistics, gradient)),
      ...this.#prepared.layout.trained.map(({ offset, size }) =>
        hashOf(vector.subarray(gradient + offset, gradient + offset + size)),
      ),
    ];
  }

  /** All shards of the batch were added up. */
  added(): void {
    if (this.#batch) this.#line(this.#batch, []);
    this.#batch = undefined;
  }

  step({ step }: BatchJob, state: ExecutorState): void {
    const { entries } = this.#prepared.layout;
    const weights = state.get('weights')!;
    const others = [...state].filter(([name]) => name !== 'weights');
    const parts = [...entries.map(({ name }) => name), ...others.map(([name]) => name)];
    const hashes = [
      ...entries.map(({ offset, size }) => hashOf(weights.subarray(offset, offset + size))),
      ...others.map(([, values]) => hashOf(values)),
    ];
    this.#line({ step, state: hashes }, parts);
  }
}

/** The first 64 bits of a SHA-256: enough to tell bits that differ by mistake. */
const hashOf = (values: Float32Array): string =>
  createHash('sha256').update(new Uint8Array(values.slice().buffer)).digest('hex').slice(0, 16);

export const newHead = (parts: Omit<TraceHead, 'format' | 'lockstep'>): TraceHead => ({
  ...{ format: FORMAT, lockstep: version },
  ...parts,
});
