/** Cases take turns, round by round, so that a drifting machine hurts all alike. */

/** Where steps are long, there are fewer rounds than planned, but not less than this. */
const LEAST_ROUNDS = 5;

export interface Turns {
  /** An odd number, so that one round is the median. */
  readonly rounds: number;
  /** For all of them (s). */
  readonly budget: number;
}

/** As many rounds as fit, of so many cases with pieces of so many seconds. */
export function roundsIn(budget: number, cases: number, seconds: number): number {
  const many = Math.max(LEAST_ROUNDS, Math.floor(budget / cases / seconds));
  return many % 2 ? many : many - 1;
}

/** Measures a piece of every case in each round. */
export async function takeTurns(
  cases: readonly ((round: number) => Promise<void>)[],
  { rounds, budget }: Turns,
): Promise<void> {
  const end = performance.now() + 1000 * budget;
  for (let round = 0; round < rounds; round++) {
    if (round >= LEAST_ROUNDS && round % 2 === 1 && performance.now() > end) return;
    // There and back: none is always the first after a pause.
    for (const measure of round % 2 ? cases.toReversed() : cases) await measure(round);
  }
}

interface Closable {
  close(): Promise<void>;
}

/** What a measurement opens, to be closed together. */
export class Opened {
  readonly #all: Closable[] = [];

  async add<T extends Closable>(starting: Promise<T>): Promise<T> {
    const started = await starting;
    this.#all.push(started);
    return started;
  }

  async close(): Promise<void> {
    await Promise.all(this.#all.map((each) => each.close()));
  }
}
