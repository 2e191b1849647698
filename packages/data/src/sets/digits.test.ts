import { describe, expect, it } from 'vitest';
import { expectProblem, thrown } from '../../test/support.ts';
import { contentHash, sliceRows } from '../dataset/dataset.ts';
import { digits } from './digits.ts';

describe('digits', () => {
  it('are the bits written down when they were made', () => {
    // Every platform must give this hash: a run's digest begins here.
    expect(contentHash(digits({ seed: 1, train: 300, validation: 100 }))).toBe(
      '1a2ce0e17eb84651b1671a805e7a971b9d0fa9f8664fdf4735f3f76b5dd09ff1',
    );
  });

  it('have the form of MNIST', () => {
    const made = digits();
    expect(made.length).toBe(8000);
    expect(made.validation?.length).toBe(2000);
    const { image, label } = made.columns;
    expect(image).toMatchObject({
      dtype: 'u8',
      as: 'f32',
      shape: [784],
      scale: Math.fround(1 / 255),
      shift: 0,
    });
    expect(label).toMatchObject({ as: 'i32', shape: [], classes: 10 });
    const counts = new Array<number>(10).fill(0);
    for (const value of label.data) counts[value]!++;
    for (const count of counts) expect(Math.abs(count - 800)).toBeLessThan(120);
  });

  it('of a smaller set are the first of a larger one, and validation has its own', () => {
    const large = digits({ seed: 4, train: 60, validation: 60 });
    const small = digits({ seed: 4, train: 20, validation: 5 });
    const { validation: _, ...training } = small;
    expect(contentHash(training)).toBe(contentHash(sliceRows(large, 0, 20)));
    expect(contentHash(small.validation!)).toBe(contentHash(sliceRows(large.validation!, 0, 5)));
    expect(contentHash(sliceRows(large, 0, 5))).not.toBe(contentHash(small.validation!));
  });

  it('differ by seed', () => {
    const hashes = [0, 1, 2 ** 32].map((seed) => contentHash(digits({ seed, train: 5, validation: 0 })));
    expect(new Set(hashes).size).toBe(3);
  });

  it('fill the middle and leave the border dark', () => {
    const { data } = digits({ train: 500, validation: 0 }).columns.image;
    let border = 0;
    let middle = 0;
    for (let i = 0; i < data.length; i++) {
      const row = Math.floor((i % 784) / 28);
      const at = i % 28;
      if (row === 0 || row === 27 || at === 0 || at === 27) border += data[i]! / 108 / 500;
      if (row >= 7 && row < 21 && at >= 7 && at < 21) middle += data[i]! / 196 / 500;
    }
    expect(border).toBeLessThan(15);
    expect(middle).toBeGreaterThan(60);
  });

  it.each([{ train: 0 }, { train: 1.5 }, { validation: -1 }, { seed: -1 }])('refuses %j', (options) => {
    expectProblem(
      thrown(() => digits(options)),
      'DATA_OPTION',
      `digits: ${Object.keys(options)[0]}`,
    );
  });
});
