/** Connections that were refused: each is counted, few are told. */

import type { ClosedReason } from '@lockstep/sync';
import type { RefusedEvent } from '@lockstep/trainer';

/** Milliseconds between two that are told of one code: whoever comes in masses fills no disk and no terminal. */
const PAUSE = 10_000;

/** Ends of connections with which nothing is wrong, or of which others tell. */
const ORDINARY = new Set([
  ...['CLOSED', 'RESET', 'STOPPING'],
  ...['LEFT', 'FINISHED', 'INTERRUPTED', 'REPLACED', 'SILENT'],
]);

interface Kind {
  count: number;
  told: number;
  at: number;
}

export class Refusals {
  readonly #kinds = new Map<string, Kind>();

  /** How often, by code. */
  get counts(): Readonly<Record<string, number>> {
    return Object.fromEntries([...this.#kinds].map(([code, { count }]) => [code, count]));
  }

  /** Before a connection stood. `now`: milliseconds; gives what is to be told. */
  refused(code: string, address: string, now: number, message?: string): RefusedEvent | undefined {
    const kind = this.#kinds.get(code) ?? { count: 0, told: 0, at: Number.NEGATIVE_INFINITY };
    this.#kinds.set(code, kind);
    kind.count++;
    if (now - kind.at < PAUSE) return undefined;
    const count = kind.count - kind.told;
    [kind.told, kind.at] = [kind.count, now];
    return { type: 'refused', code, address, count, ...(message !== undefined && { message }) };
  }

  /** A connection that stood has ended: whether it was for what came on it. */
  closed(
    { code, message, isTheirs = false }: ClosedReason,
    address: string,
    now: number,
  ): RefusedEvent | undefined {
    if (isTheirs || ORDINARY.has(code)) return undefined;
    // Some say their code themselves.
    return this.refused(code, address, now, message.replace(new RegExp(`^${code}: `), ''));
  }
}
