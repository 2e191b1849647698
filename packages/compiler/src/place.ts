/** Where each buffer lies in the arena: buffers whose lives do not overlap share memory. */
import { align } from '@lockstep/kernels';

/** A buffer that lives from its first to its last call (inclusive). */
export interface Life {
  readonly bytes: number;
  readonly first: number;
  last: number;
}

export interface Placement {
  readonly offsets: readonly number[];
  /** Size of the arena. */
  readonly bytes: number;
}

/**
 * Best fit over the free gaps, largest buffers first (they are the hardest to fit): each takes the smallest gap
 * between buffers already placed whose lives overlap its own.
 */
export function place(lives: readonly Life[]): Placement {
  const offsets = new Array<number>(lives.length).fill(0);
  const placed: { offset: number; end: number; life: Life }[] = [];
  let bytes = 0;
  const bySize = [...lives.keys()].sort((a, b) => lives[b]!.bytes - lives[a]!.bytes || a - b);
  for (const index of bySize) {
    const life = lives[index]!;
    const size = align(life.bytes);
    const busy = placed.filter((other) => other.life.first <= life.last && life.first <= other.life.last);
    let best: { offset: number; gap: number } | undefined;
    let end = 0;
    for (const other of [...busy, { offset: Number.POSITIVE_INFINITY, end: 0 }]) {
      const gap = other.offset - end;
      if (gap >= size && (!best || gap < best.gap)) best = { offset: end, gap };
      end = Math.max(end, other.end);
    }
    const offset = best!.offset; // the gap after the last buffer has no end
    offsets[index] = offset;
    bytes = Math.max(bytes, offset + size);
    const entry = { offset, end: offset + size, life };
    const at = placed.findIndex((other) => other.offset > entry.offset);
    placed.splice(at === -1 ? placed.length : at, 0, entry);
  }
  return { offsets, bytes };
}
