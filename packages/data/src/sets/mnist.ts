import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { checkInteger, DataError } from '../common/errors.ts';
import type { NdArray } from '../dataset/arrays.ts';
import { column, type Dataset, dataset, sliceRows } from '../dataset/dataset.ts';
import { readIdx } from '../formats/idx.ts';
import { cacheFolder, type DownloadProgress, download } from './download.ts';

export interface MnistOptions {
  /**
   * Folder of the IDX files, by their usual names (`train-images-idx3-ubyte` or `train-images.idx3-ubyte` and so on, plain
   * or .gz), or of a folder `mnist` or `MNIST/raw` (`FashionMNIST/raw`) with them. Default: the cache of downloads.
   */
  readonly dir?: string | undefined;
  /** Fetch what is missing into the folder, checked by SHA-256. Default false. */
  readonly download?: boolean;
  /**
   * Train on the first rows and validate on the last rows of one set of files (train-*, or t10k-* when there is no
   * other). Default: train on train-*, validate on t10k-*; with t10k-* alone, the first 80 % and the last 20 %.
   */
  readonly split?: { readonly train: number; readonly validation: number };
  readonly onProgress?: (progress: DownloadProgress) => void;
  readonly signal?: AbortSignal;
  /** Base addresses to download from, instead of the usual ones. */
  readonly mirrors?: readonly string[];
}

interface Source {
  readonly name: string;
  /** Folders below the given one that are looked into, in order. */
  readonly folders: readonly string[];
  readonly mirrors: readonly string[];
  /** Length and SHA-256 of the .gz files. */
  readonly files: { readonly [P in Part]: { readonly [K in Kind]: { bytes: number; sha256: string } } };
  readonly classes: readonly string[];
}

type Part = 'train' | 't10k';
type Kind = 'images-idx3' | 'labels-idx1';
type Images = Dataset<'image' | 'label'>;

const sources = {
  mnist: {
    name: 'mnist',
    folders: ['', 'mnist', 'MNIST/raw'],
    mirrors: [
      'https://ossci-datasets.s3.amazonaws.com/mnist/',
      'https://storage.googleapis.com/cvdf-datasets/mnist/',
    ],
    files: {
      train: {
        'images-idx3': {
          bytes: 9912422,
          sha256: '440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609',
        },
        'labels-idx1': {
          bytes: 28881,
          sha256: '3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c',
        },
      },
      t10k: {
        'images-idx3': {
          bytes: 1648877,
          sha256: '8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6',
        },
        'labels-idx1': {
          bytes: 4542,
          sha256: 'f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6',
        },
      },
    },
    classes: ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9'],
  },
  fashionMnist: {
    name: 'fashionMnist',
    folders: ['', 'fashion-mnist', 'FashionMNIST/raw'],
    mirrors: [
      'https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/',
      'http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/',
    ],
    files: {
      train: {
        'images-idx3': {
          bytes: 26421880,
          sha256: '3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84',
        },
        'labels-idx1': {
          bytes: 29515,
          sha256: 'a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845',
        },
      },
      t10k: {
        'images-idx3': {
          bytes: 4422102,
          sha256: '346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073',
        },
        'labels-idx1': {
          bytes: 5148,
          sha256: '67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5',
        },
      },
    },
    classes: [
      'T-shirt/top',
      'Trouser',
      'Pullover',
      'Dress',
      'Coat',
      'Sandal',
      'Shirt',
      'Sneaker',
      'Bag',
      'Ankle boot',
    ],
  },
} as const satisfies Record<string, Source>;

/**
 * MNIST (LeCun, Cortes, Burges): handwritten digits, 60,000 to train and 10,000 to validate. `image` is f32 [784] from 0 to 1
 * (bytes · 1/255), `label` is i32 from 0 to 9.
 *
 * @throws DataError for files that are missing, truncated, damaged or do not fit together, or a failed download.
 */
export const mnist = (options: MnistOptions = {}): Promise<Images> => load(sources.mnist, options);

/** Fashion-MNIST (Xiao, Rasul, Vollgraf; arXiv 1708.07747): pieces of clothing, in the form of {@link mnist}. */
export const fashionMnist = (options: MnistOptions = {}): Promise<Images> =>
  load(sources.fashionMnist, options);

async function load(source: Source, options: MnistOptions): Promise<Images> {
  const folder = options.dir ?? join(cacheFolder(), source.name);
  if (options.download) await fetchMissing(source, folder, options);
  const train = read(source, folder, 'train');
  if (options.split === undefined) {
    const test = read(source, folder, 't10k');
    if (train !== undefined && test !== undefined) return { ...train, validation: test };
    if (test !== undefined) return cut(source, test, fourFifths(test.length));
    if (train !== undefined) throw missing(source, folder, 't10k');
    throw missing(source, folder, 'train');
  }
  const all = train ?? read(source, folder, 't10k');
  if (all === undefined) throw missing(source, folder, 'train');
  return cut(source, all, options.split);
}

const fourFifths = (rows: number): { train: number; validation: number } => {
  const validation = Math.floor(rows / 5);
  return { train: rows - validation, validation };
};

function cut(source: Source, all: Images, { train, validation }: NonNullable<MnistOptions['split']>): Images {
  checkInteger(`${source.name}: split.train`, train, 1, all.length - 1);
  checkInteger(`${source.name}: split.validation`, validation, 1, all.length - train);
  return { ...sliceRows(all, 0, train), validation: sliceRows(all, all.length - validation, all.length) };
}

const kinds = ['images-idx3', 'labels-idx1'] as const;

async function fetchMissing(source: Source, folder: string, options: MnistOptions): Promise<void> {
  const parts: readonly Part[] = options.split === undefined ? ['train', 't10k'] : ['train'];
  for (const part of parts) {
    for (const kind of kinds) {
      if (find(source, folder, part, kind) !== undefined) continue;
      const name = `${part}-${kind}-ubyte.gz`;
      await download({
        ...source.files[part][kind],
        urls: (options.mirrors ?? source.mirrors).map((mirror) => new URL(name, mirror).href),
        path: join(folder, name),
        onProgress: options.onProgress,
        signal: options.signal,
      });
    }
  }
}

/** The file of a part, under the usual names. */
function find(source: Source, folder: string, part: Part, kind: Kind): string | undefined {
  for (const below of source.folders) {
    for (const name of [`${part}-${kind}-ubyte`, `${part}-${kind.replace('-', '.')}-ubyte`]) {
      for (const ending of ['', '.gz']) {
        const path = join(folder, below, name + ending);
        if (existsSync(path)) return path;
      }
    }
  }
  return undefined;
}

/** The images and labels of a part, or undefined when neither is there. */
function read(source: Source, folder: string, part: Part): Images | undefined {
  const [imagesPath, labelsPath] = kinds.map((kind) => find(source, folder, part, kind));
  if (imagesPath === undefined && labelsPath === undefined) return undefined;
  if (imagesPath === undefined || labelsPath === undefined) throw missing(source, folder, part);
  const images = bytesOf(source, imagesPath, 3);
  const labels = bytesOf(source, labelsPath, 1);
  const [, height, width] = images.shape as readonly [number, number, number];
  return dataset({
    name: `${source.name} (${part} in ${folder})`,
    columns: {
      image: column(images.data, { shape: [height * width], scale: 1 / 255 }),
      label: column(labels.data, { as: 'i32', labels: source.classes }),
    },
  });
}

function bytesOf(source: Source, path: string, axes: number): { data: Uint8Array; shape: NdArray['shape'] } {
  const { data, shape } = readIdx(path);
  if (data instanceof Uint8Array && shape.length === axes) return { data, shape };
  throw new DataError(
    'DATA_FORMAT',
    `${source.name}: ${path} has the shape [${shape}]; expected ${axes === 1 ? 'labels [rows]' : 'images [rows, height, width]'} ` +
      'of bytes. Is it another file?',
  );
}

function missing(source: Source, folder: string, part: Part): DataError {
  const names = kinds.map((kind) => `${part}-${kind}-ubyte`).join(' and ');
  return new DataError(
    'DATA_MISSING',
    `${source.name}: ${folder} lacks ${names} (plain or .gz). Put the files there, give another dir, or download: true.`,
  );
}
