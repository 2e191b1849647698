/** Reads what `../../scripts/golden.py` wrote; for tests. */
import { readFileSync } from 'node:fs';

export const golden = <T>(name: string): T =>
  JSON.parse(readFileSync(new URL(`./${name}.json`, import.meta.url), 'utf8')) as T;

/** Largest |found − expected| / max(scale, |expected|). */
export function relativeError(
  found: ArrayLike<number>,
  expected: ArrayLike<number>,
  scale = Number.MIN_VALUE,
): number {
  if (found.length !== expected.length) return Infinity;
  let worst = 0;
  for (let i = 0; i < found.length; i++) {
    const error = Math.abs(found[i]! - expected[i]!);
    if (error !== 0) worst = Math.max(worst, error / Math.max(scale, Math.abs(expected[i]!)));
    if (Number.isNaN(error)) return Infinity;
  }
  return worst;
}
