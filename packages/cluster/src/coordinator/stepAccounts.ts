/** By optimizer step: where the time of its batches went, and what travelled. */

import { everyPart, type StepTime } from '@lockstep/sync';
import type { ClusterStep } from '@lockstep/trainer';

type Account = Pick<ClusterStep, 'time' | 'bytes'>;

export class StepAccounts {
  readonly #accounts = new Map<number, Account>();

  /** A batch of the step is done. */
  add(step: number, time: StepTime, { sent, received }: Account['bytes']): void {
    const before = this.#accounts.get(step);
    this.#accounts.set(step, {
      time: addTimes(time, before?.time),
      bytes: { sent: sent + (before?.bytes.sent ?? 0), received: received + (before?.bytes.received ?? 0) },
    });
  }

  /** Of a step of which a batch is done; it is forgotten. */
  take(step: number): Account {
    const account = this.#accounts.get(step)!;
    this.#accounts.delete(step);
    return account;
  }
}

/** In whole microseconds. */
const addTimes = (a: StepTime, b: StepTime | undefined): StepTime =>
  everyPart((part) => Math.round((a[part] + (b?.[part] ?? 0)) * 1000) / 1000);
