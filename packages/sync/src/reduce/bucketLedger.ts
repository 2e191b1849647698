/**
 * Note [Once per batch]: within a batch, every bucket is completed once (all of its shards are in the sum), applied once
 * (the sum goes into the weights), and published once. A second time is never harmless: an optimizer that sees a sum twice
 * has taken another step than it said, and no later check would see it. So each of the three keeps a ledger, a step number
 * per bucket, which costs nothing. What breaks it ends the run before anything is written: the newest checkpoint is good.
 */

/** The program contradicts itself: nothing that comes of this run from now on may be used. */
export class InvariantError extends Error {
  override readonly name = 'InvariantError';
  readonly code = 'INVARIANT';

  constructor(message: string) {
    super(
      `${message}. This is a bug in Lockstep, please report it. The run has ended, and nothing of this step was saved; ` +
        'resume it from its newest checkpoint (--resume)',
    );
  }
}

/** Notes which buckets went through one stage of a batch, and sees to it that each does so once and in order of the steps. */
export class BucketLedger {
  readonly #stage: string;
  /** By bucket: the step with which it last went through; before its first: -1. */
  readonly #last: Float64Array;

  /** @param stage as a participle: "completed", "applied" */
  constructor(stage: string, buckets: number) {
    this.#stage = stage;
    this.#last = new Float64Array(buckets).fill(-1);
  }

  /** The bucket goes through with this step, now. Throws an InvariantError where it did so before, or with a later step. */
  pass(step: number, bucket: number): void {
    const last = this.#last[bucket] ?? Number.POSITIVE_INFINITY;
    if (last >= step) {
      const got = last === step ? 'a second time, expected once' : `after it was with step ${last}`;
      throw new InvariantError(`step ${step}: bucket ${bucket} is ${this.#stage} ${got}`);
    }
    this.#last[bucket] = step;
  }

  has(step: number, bucket: number): boolean {
    return this.#last[bucket] === step;
  }

  /** Throws an InvariantError unless every bucket went through with this step. */
  checkAll(step: number): void {
    const missing = this.#last.findIndex((last) => last !== step);
    if (missing < 0) return;
    throw new InvariantError(
      `step ${step}: bucket ${missing} of ${this.#last.length} was never ${this.#stage}, expected all of them by now`,
    );
  }
}
