/**
 * Note [With and without]: whether steps are faster with a node than without it cannot be computed from how fast each node is
 * alone: nodes may share cores, memory or a link, and each step costs the coordinator something for each node. So steps are
 * run with and without it, in turns, and what is faster is kept. Who takes part never changes a bit.
 */

export type Turn = 'with' | 'without';

/** A turn has at least so many steps that are measured; */
const LEAST_STEPS = 3;
/** more of them, up to so many, until they took so many milliseconds. */
const MOST_STEPS = 16;
const LEAST_TIME = 50;
/** Both turns are taken so often, unless it is clear before. */
const PAIRS = 3;
/** It is clear when one of them takes so many times as long as the other. */
const CLEAR = 1.18;
/** Otherwise things stay as they are, unless steps take at least this part less time the other way. */
const WORTH = 0.03;
/** A turn that is not as things are ends when it has cost so many steps. */
const MOST_LOST = 2;

/** Some sessions take part in steps, and do not, in turns. The first turn is as things are, and is the measure of what is lost. */
export class Experiment {
  readonly sessions: ReadonlySet<number>;
  /** Among whom they are tried: of others it says nothing. */
  readonly others: string;
  /** How things are. */
  readonly given: Turn;
  turn: Turn;
  verdict: Turn | undefined;
  /** Of the turn under way. Its first step is not one of them: another cut is new to all, and models are on their way. */
  #times: number[] = [];
  #isFirst = false;
  /** Medians of the last turns. */
  readonly #last: Partial<Record<Turn, number>> = {};
  /** Time with, over time without. */
  readonly #ratios: number[] = [];

  constructor(sessions: Iterable<number>, given: Turn, others = '') {
    this.sessions = new Set(sessions);
    this.others = others;
    this.given = given;
    this.turn = given;
  }

  /**
   * A step of this turn took so many milliseconds. Gives what it has cost, in steps; less than nothing: it was faster.
   * @param isDisturbed something else made it longer: it is not measured
   */
  step(milliseconds: number, isDisturbed = false): number {
    const usual = this.#last[this.given];
    const isGiven = this.turn === this.given;
    const lost = usual === undefined || isGiven ? 0 : milliseconds / usual - 1;
    if (this.#isFirst || isDisturbed) {
      this.#isFirst = false;
      return lost;
    }
    this.#times.push(milliseconds);
    const time = this.#times.reduce((a, b) => a + b);
    const steps = this.#times.length;
    if (!isGiven && usual !== undefined && time / usual - steps > MOST_LOST) {
      this.verdict = this.given;
    } else if (steps >= LEAST_STEPS && (steps >= MOST_STEPS || time >= LEAST_TIME)) {
      this.#endTurn();
    }
    return lost;
  }

  /** Whether steps are slower with them, for all that is known; else it makes no difference, or they are faster. */
  get isSlower(): boolean {
    return this.#ratios.length === 0 ? this.given === 'without' : medianOf(this.#ratios) > 1 + WORTH;
  }

  #endTurn(): void {
    this.#last[this.turn] = medianOf(this.#times);
    if (this.turn !== this.given) {
      this.#ratios.push(this.#last.with! / this.#last.without!);
      this.#judge();
    }
    this.turn = this.turn === 'with' ? 'without' : 'with';
    this.#times = [];
    this.#isFirst = true;
  }

  #judge(): void {
    const ratio = medianOf(this.#ratios);
    if (this.#ratios.length === 1 && ratio > 1 / CLEAR && ratio < CLEAR) return;
    if (this.#ratios.length > 1 && this.#ratios.length < PAIRS) return;
    const isWorth = this.given === 'without' ? ratio <= 1 - WORTH : ratio >= 1 / (1 - WORTH);
    const other = this.given === 'with' ? 'without' : 'with';
    this.verdict = isWorth ? other : this.given;
  }
}

const medianOf = (values: readonly number[]): number => {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
};
