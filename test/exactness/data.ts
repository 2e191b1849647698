/** Small data sets from integers alone: the same numbers on every machine. */
import { data } from 'lockstep';

/** Whole numbers from 0 to 2³² − 1, by a linear congruence (Numerical Recipes). */
function* integers(seed: number): Generator<number, never> {
  for (let state = seed >>> 0; ; ) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    yield state;
  }
}

export const FEATURES = 20;
export const CLASSES = 5;

/** Multiples of 2⁻¹⁰ in [−2, 2): exact in f32. */
const spread = (word: number): number => ((word >>> 20) - 2048) / 1024;

function part(rows: number, seed: number) {
  const next = integers(seed);
  const floats = (count: number) => Float32Array.from({ length: count }, () => spread(next.next().value));
  const bytes = Uint8Array.from({ length: rows * 16 }, () => next.next().value >>> 24);
  const label = Int32Array.from({ length: rows }, () => (next.next().value >>> 8) % CLASSES);
  return data.dataset({
    name: 'numbers',
    columns: {
      /** [FEATURES] */
      x: data.column(floats(rows * FEATURES), { shape: [FEATURES] }),
      /** [1] */
      y: data.column(floats(rows), { shape: [1] }),
      /** [4, 4], from bytes. */
      image: data.column(bytes, { shape: [4, 4], scale: 1 / 255, shift: -0.5 }),
      /** [] */
      label: data.column(label, { classes: CLASSES }),
    },
  });
}

/** Rows to train on, and maybe rows to validate on; every field of `Fields`. */
export const numbers = (rows: number, validation = 0, seed = 7) =>
  validation === 0 ? part(rows, seed) : { ...part(rows, seed), validation: part(validation, seed + 1) };

export type Fields = keyof ReturnType<typeof part>['columns'];
