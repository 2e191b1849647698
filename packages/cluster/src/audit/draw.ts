/** Which units are computed a second time: drawn from a secret that nobody but this process ever has. */
import { createHmac, randomBytes } from 'node:crypto';
import type { ShardRange } from '@lockstep/sync';

export class AuditDraw {
  readonly #rate: number;
  readonly #secret: Uint8Array;
  /** Grows when batches are computed again: then others are drawn. */
  #turn = 0;

  /** @param rate the part of the units that are drawn, 0 to 1 */
  constructor(rate: number, secret: Uint8Array = randomBytes(32)) {
    this.#rate = rate;
    this.#secret = secret;
  }

  next(): void {
    this.#turn++;
  }

  isDrawn(batch: number, { lo, hi }: ShardRange): boolean {
    if (this.#rate <= 0) return false;
    const hmac = createHmac('sha256', this.#secret).update(`${this.#turn} ${batch} ${lo} ${hi}`).digest();
    return hmac.readUInt32BE(0) < this.#rate * 2 ** 32;
  }
}
