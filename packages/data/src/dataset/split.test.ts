import { describe, expect, it } from 'vitest';
import { expectProblem, thrown } from '../../test/support.ts';
import { arrays, labels } from './arrays.ts';
import { column } from './dataset.ts';
import { split } from './split.ts';
import { moments, standardize } from './standardize.ts';

const ten = arrays({
  x: Array.from({ length: 10 }, (_, i) => [i, 10 - i]),
  y: labels([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
});

describe('split', () => {
  it.each([
    [0.2, 2],
    [3, 3],
    [0.01, 1],
    [9, 9],
  ])('%d of ten rows validates on %d', (validation, count) => {
    const parts = split(ten, validation, 1);
    const train = [...parts.columns.y.data];
    const held = [...parts.validation!.columns.y.data];
    expect(held.length).toBe(count);
    expect(train.length).toBe(10 - count);
    expect([...train, ...held].sort()).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect(train).toEqual([...train].sort());
    expect([...parts.columns.x.data]).toEqual(train.flatMap((i) => [i, 10 - i]));
  });

  it('depends on the seed alone', () => {
    const held = (seed: number): string => split(ten, 4, seed).validation!.columns.y.data.join();
    expect(held(1)).toBe(held(1));
    expect(new Set([1, 2, 3, 4].map(held)).size).toBeGreaterThan(1);
  });

  it.each([0, 1.5, -1, 10, Number.NaN])('refuses %d', (validation) => {
    expectProblem(
      thrown(() => split(ten, validation)),
      'DATA_OPTION',
      'from 1 to 9',
    );
  });
});

describe('standardize', () => {
  const validation = arrays({ x: [[9, 7, 5]] });
  const source = arrays(
    {
      x: [
        [1, 10, 5],
        [3, 30, 5],
      ],
    },
    { validation },
  );

  it('fits every feature on the training part alone', () => {
    const done = standardize(source, 'x');
    expect([...done.columns.x.data]).toEqual([-1, -1, 0, 1, 1, 0]);
    expect([...done.validation!.columns.x.data]).toEqual([7, Math.fround(-1.3), 0]);
    expect([...source.columns.x.data]).toEqual([1, 10, 5, 3, 30, 5]);
  });

  it('fits bytes as a whole and keeps them', () => {
    const bytes = arrays({ x: column(Uint8Array.of(0, 100, 100, 200), { shape: [2], scale: 1 / 255 }) });
    const { x } = standardize(bytes, 'x').columns;
    expect(x.data).toBe(bytes.columns.x.data);
    const [fit] = moments(bytes.columns.x, true);
    expect(fit).toEqual({ mean: 100, deviation: Math.sqrt(5000) });
    const seen = [...x.data].map((value) => value * x.scale + x.shift);
    expect(seen.reduce((sum, value) => sum + value, 0)).toBeCloseTo(0, 5);
    expect(seen[3]).toBeCloseTo(Math.SQRT2, 5);
  });

  it('refuses labels and columns that are not there', () => {
    expectProblem(
      thrown(() => standardize(ten, 'y')),
      'DATA_OPTION',
      'it holds labels',
    );
    expectProblem(
      thrown(() => standardize(ten, 'z' as 'x')),
      'DATA_MISSING',
      'Columns: x, y',
    );
  });
});
