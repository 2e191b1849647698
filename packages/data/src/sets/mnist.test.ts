import { existsSync, mkdirSync, mkdtempSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { expectProblem, idxBytes, put, temporaryFolder, thrown } from '../../test/support.ts';
import type { DataErrorCode } from '../common/errors.ts';
import { readIdx } from '../formats/idx.ts';
import { fashionMnist, mnist } from './mnist.ts';

const root = temporaryFolder();
const newFolder = (): string => mkdtempSync(join(root, 'm'));

const images = (rows: number, first = 0): Uint8Array =>
  idxBytes(
    [rows, 2, 2],
    Array.from({ length: rows * 4 }, (_, i) => (first + i) % 256),
  );
const labels = (rows: number): Uint8Array =>
  idxBytes(
    [rows],
    Array.from({ length: rows }, (_, i) => i % 10),
  );

describe('readIdx', () => {
  const good: [string, Uint8Array, ArrayLike<number>][] = [
    ['bytes', idxBytes([3], [1, 2, 255]), Uint8Array.of(1, 2, 255)],
    ['signed bytes', idxBytes([2], [1, 255], 0x09), Int32Array.of(1, -1)],
    ['shorts', idxBytes([2], [0, 1, 255, 255], 0x0b), Int32Array.of(1, -1)],
    ['integers', idxBytes([1], [255, 255, 255, 254], 0x0c), Int32Array.of(-2)],
    ['floats', idxBytes([1], [0x3f, 0xc0, 0, 0], 0x0d), Float32Array.of(1.5)],
    ['doubles', idxBytes([1], [0x3f, 0xf8, 0, 0, 0, 0, 0, 0], 0x0e), Float64Array.of(1.5)],
    ['packed bytes', gzipSync(idxBytes([2], [3, 4])), Uint8Array.of(3, 4)],
  ];
  it.each(good)('reads %s', (_, bytes, data) => expect(readIdx(bytes).data).toEqual(data));

  const packed = gzipSync(
    idxBytes(
      [64],
      new Uint8Array(64).map((_, i) => i * 37),
    ),
  );
  const damaged = Buffer.from(packed);
  damaged[packed.length - 6]! ^= 1;
  const bad: [string, Uint8Array, DataErrorCode, ...string[]][] = [
    ['an empty file', new Uint8Array(0), 'DATA_TRUNCATED', '0 bytes'],
    ['another file', Buffer.from('<html>'), 'DATA_FORMAT', 'magic number 0x3c68746d'],
    ['an unknown type', idxBytes([1], [1], 0x0a), 'DATA_FORMAT', '0x00000a01'],
    ['a cut header', idxBytes([2, 2], []).subarray(0, 9), 'DATA_TRUNCATED', 'within its header of 12'],
    ['cut data', idxBytes([2, 2], [1, 2, 3]), 'DATA_TRUNCATED', '3 bytes of data; expected 4 for [2,2]'],
    ['bytes too many', idxBytes([1], [1, 2]), 'DATA_CORRUPT', '2 bytes of data; expected 1'],
    ['a cut gzip', packed.subarray(0, packed.length - 9), 'DATA_TRUNCATED', 'truncated gzip'],
    ['a damaged gzip', damaged, 'DATA_CORRUPT', 'damaged gzip'],
  ];
  it.each(bad)('refuses %s', (_, bytes, code, ...texts) => {
    const path = put(root, 'bad.idx', bytes);
    expectProblem(
      thrown(() => readIdx(path)),
      code,
      path,
      ...texts,
    );
  });

  it('refuses a missing file', () => {
    expectProblem(
      thrown(() => readIdx(join(root, 'none'))),
      'DATA_MISSING',
      'none',
    );
  });
});

describe('mnist from a folder', () => {
  it('trains on train-* and validates on t10k-*', async () => {
    const dir = newFolder();
    put(dir, 'train-images-idx3-ubyte', images(6));
    put(dir, 'train-labels.idx1-ubyte', labels(6));
    put(dir, 't10k-images.idx3-ubyte.gz', gzipSync(images(3)));
    put(dir, 't10k-labels-idx1-ubyte.gz', gzipSync(labels(3)));
    const made = await mnist({ dir });
    expect([made.length, made.validation?.length]).toEqual([6, 3]);
    expect(made.columns.image).toMatchObject({
      dtype: 'u8',
      as: 'f32',
      shape: [4],
      scale: Math.fround(1 / 255),
    });
    expect(made.columns.label).toMatchObject({ dtype: 'u8', as: 'i32', shape: [], classes: 10 });
    const cut = await mnist({ dir, split: { train: 3, validation: 2 } });
    expect([...cut.columns.label.data, ...cut.validation!.columns.label.data]).toEqual([0, 1, 2, 4, 5]);
  });

  it('cuts t10k-* when it is alone', async () => {
    const dir = newFolder();
    mkdirSync(join(dir, 'FashionMNIST', 'raw'), { recursive: true });
    put(dir, 'FashionMNIST/raw/t10k-images-idx3-ubyte', images(10));
    put(dir, 'FashionMNIST/raw/t10k-labels-idx1-ubyte', labels(10));
    const made = await fashionMnist({ dir });
    expect([made.length, made.validation?.length]).toEqual([8, 2]);
    expect([...made.validation!.columns.label.data]).toEqual([8, 9]);
    expect(made.columns.label.labels?.[9]).toBe('Ankle boot');
    const cut = await fashionMnist({ dir, split: { train: 4, validation: 6 } });
    expect([cut.length, cut.validation?.length]).toEqual([4, 6]);
  });

  const t10k = { 't10k-images-idx3-ubyte': images(3), 't10k-labels-idx1-ubyte': labels(3) };
  const wrongLabels = idxBytes([3], [1, 10, 2]);
  const bad: [string, Record<string, Uint8Array>, object, DataErrorCode, ...string[]][] = [
    ['an empty folder', {}, {}, 'DATA_MISSING', ' lacks train-images-idx3-ubyte', 'download: true'],
    ['images alone', { 'train-images-idx3-ubyte': images(3) }, {}, 'DATA_MISSING', 'train-labels-idx1-ubyte'],
    [
      'no test files',
      { 'train-images-idx3-ubyte': images(3), 'train-labels-idx1-ubyte': labels(3) },
      {},
      'DATA_MISSING',
      't10k-images-idx3-ubyte',
    ],
    [
      'other lengths',
      { ...t10k, 't10k-labels-idx1-ubyte': labels(4) },
      {},
      'DATA_SHAPE',
      'column "label" has 4 rows',
    ],
    [
      'a label of 10',
      { ...t10k, 't10k-labels-idx1-ubyte': wrongLabels },
      {},
      'DATA_LABEL',
      'label 10 in row 1',
    ],
    [
      'images for labels',
      { ...t10k, 't10k-labels-idx1-ubyte': images(3) },
      {},
      'DATA_FORMAT',
      '[3,2,2]; expected labels',
    ],
    [
      'labels for images',
      { ...t10k, 't10k-images-idx3-ubyte': labels(3) },
      {},
      'DATA_FORMAT',
      'expected images',
    ],
    [
      'no rows',
      { 't10k-images-idx3-ubyte': images(0), 't10k-labels-idx1-ubyte': labels(0) },
      {},
      'DATA_EMPTY',
      'no rows',
    ],
    [
      'too large a split',
      t10k,
      { split: { train: 2, validation: 2 } },
      'DATA_OPTION',
      'split.validation is 2',
    ],
    ['a split of nothing', t10k, { split: { train: 0, validation: 2 } }, 'DATA_OPTION', 'split.train is 0'],
  ];
  it.each(bad)('refuses %s', async (_, files, options, code, ...texts) => {
    const dir = newFolder();
    for (const [name, bytes] of Object.entries(files)) put(dir, name, bytes);
    const error = await mnist({ dir, ...options }).catch((reason: unknown) => reason);
    expectProblem(error, code, ...texts);
  });
});

const real = resolve(process.env.LOCKSTEP_DATA ?? '../shared/data');
const present = existsSync(join(real, 't10k-images-idx3-ubyte.gz'));
describe.skipIf(!present)(
  `the real MNIST (t10k-*.gz in LOCKSTEP_DATA, here ${present ? 'found' : 'not found'})`,
  () => {
    it('is read and cut in the first 8,000 and the last 2,000', async () => {
      const made = await mnist({ dir: real, split: { train: 8000, validation: 2000 } });
      expect([made.length, made.validation?.length]).toEqual([8000, 2000]);
      expect(made.columns.image.shape).toEqual([784]);
      expect([...made.columns.label.data.subarray(0, 8)]).toEqual([7, 2, 1, 0, 4, 1, 4, 9]);
      expect(made.columns.image.data.length).toBe(8000 * 784);
    });

    it('of which a damaged or cut copy is refused', () => {
      const bytes = readFileSync(join(real, 't10k-labels-idx1-ubyte.gz'));
      const damaged = Buffer.from(bytes);
      damaged[2000]! ^= 0x10;
      expectProblem(
        thrown(() => readIdx(damaged)),
        'DATA_CORRUPT',
      );
      expectProblem(
        thrown(() => readIdx(bytes.subarray(0, 3000))),
        'DATA_TRUNCATED',
      );
    });
  },
);
