/** Where the time of the last steps went: for people who look at a run, and for programs that watch it. */
import { everyPart, type StepTime } from '@lockstep/sync';

/** Milliseconds: what is so old counts for a third. */
const MEMORY = 2000;

export class RecentSteps {
  #steps = 0;
  #time = everyPart(() => 0);

  add(time: StepTime): void {
    const kept = Math.exp(-total(time) / MEMORY);
    const before = this.#time;
    this.#steps = kept * this.#steps + 1;
    this.#time = everyPart((part) => kept * before[part] + time[part]);
  }

  /** Of a step, in milliseconds: mean of the last ones. Undefined before the first. */
  get mean(): StepTime | undefined {
    return this.#steps === 0 ? undefined : everyPart((part) => this.#time[part] / this.#steps);
  }

  /** Of the time, by part: from 0 to 1, together 1. */
  get shares(): StepTime | undefined {
    const all = total(this.#time);
    return all === 0 ? undefined : everyPart((part) => this.#time[part] / all);
  }
}

const total = ({ compute, wait, update, network }: StepTime): number => compute + wait + update + network;
