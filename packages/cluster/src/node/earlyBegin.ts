/**
 * Note [Beginning early]: the next step will probably bring the same units. They are handed to the threads while its weights
 * come in, and wait at gates for the buckets that their next instruction reads. So results may be of a model that is never
 * whole, or of another one than what is asked for in the end: they are given out only when exactly these units of exactly
 * this step are asked for, on the model that came in meanwhile; else they are dropped, wherever they are.
 */
import type { ShardRange } from '@lockstep/sync';

export interface EarlyBeginOptions<Begun> {
  /** The order in which buckets of a model come. */
  readonly arrival: readonly number[];
  /** How many of the first of them are needed before anything can be done. */
  readonly least: number;
  /** Hands units to the threads, on the next model. `base`: what the gates stood at before it. */
  readonly submit: (step: number, units: readonly ShardRange[], base: number) => Begun;
  /** Lets through who waits for this gate or an earlier one. Gates count from the engine's start. */
  readonly open: (gate: number) => void;
  /** Nobody wants what was begun: it has numbers of any model. */
  readonly drop: (begun: Begun) => void;
}

export class EarlyBegin<Begun> {
  readonly #options: EarlyBeginOptions<Begun>;
  /** What will probably be asked for on the next model, and once it waits for buckets, or computes: that. */
  #expected: { readonly step: number; readonly units: readonly ShardRange[]; begun?: Begun } | undefined;
  /** Buckets of the next model that are here, and how many of them are the first to come. */
  readonly #here = new Set<number>();
  #count = 0;
  #base = 0;

  constructor(options: EarlyBeginOptions<Begun>) {
    this.#options = options;
  }

  /** The model before `step` comes in from now on, in the place of what came in before. No units: nothing is begun. */
  expect(step: number, units: readonly ShardRange[]): void {
    this.#forget();
    this.#openAll();
    if (units.length > 0) this.#expected = { step, units };
  }

  /** A bucket of the next model is in its place. */
  arrived(bucket: number): void {
    const { arrival, least, submit, open } = this.#options;
    this.#here.add(bucket);
    while (this.#here.has(arrival[this.#count]!)) this.#count++;
    const expected = this.#expected;
    if (expected && !expected.begun && this.#count >= least) {
      expected.begun = submit(expected.step, expected.units, this.#base);
    }
    open(this.#base + this.#count);
  }

  /** The next model is whole, and the one that is computed with. */
  swapped(): void {
    this.#openAll();
  }

  /** What was begun, if it is this. Else whatever was begun is dropped. */
  take(step: number, units: readonly ShardRange[]): Begun | undefined {
    const expected = this.#expected;
    const isThis =
      expected?.step === step &&
      expected.units.length === units.length &&
      units.every(({ lo, hi }, i) => expected.units[i]!.lo === lo && expected.units[i]!.hi === hi);
    if (!isThis || !expected.begun) {
      this.#forget();
      return undefined;
    }
    this.#expected = undefined;
    return expected.begun;
  }

  /** Whatever waits for buckets of the next model goes on; another one is next. */
  #openAll(): void {
    this.#base += this.#options.arrival.length;
    this.#options.open(this.#base);
    this.#here.clear();
    this.#count = 0;
  }

  #forget(): void {
    const begun = this.#expected?.begun;
    this.#expected = undefined;
    if (begun === undefined) return;
    // What is asked for instead waits behind it, and the rest of the model may not come before that is done.
    this.#openAll();
    this.#options.drop(begun);
  }
}
