/** What is wrong with words, config, model or data: exit code 2, one message that names the place, nothing written. */
import { rmSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { afterAll, describe, expect, test } from 'vitest';
import { configText, events, filesIn, folderWith, lockstep } from './command.ts';

/** An IDX file: magic, sizes, bytes. */
const idx = (sizes: readonly number[], bytes: Uint8Array): Uint8Array => {
  const head = new DataView(new ArrayBuffer(4 + 4 * sizes.length));
  head.setUint32(0, 0x0800 + sizes.length);
  for (const [i, size] of sizes.entries()) head.setUint32(4 + 4 * i, size);
  return Buffer.concat([new Uint8Array(head.buffer), bytes]);
};

const images = idx([20, 28, 28], new Uint8Array(20 * 784));
const labels = idx([20], new Uint8Array(20));

interface Case {
  /** Words after `train --out out`, or all of them where they begin with a command. */
  readonly args?: string;
  /** Fields of the config `c.mjs`. */
  readonly config?: Readonly<Record<string, string>>;
  readonly files?: Readonly<Record<string, string | Uint8Array>>;
  readonly says: RegExp;
}

const rows = (image: string, label = '[0, 1, 2, 1]'): string =>
  `() => data.arrays({ image: ${image}, label: data.labels(${label}, 3) })`;

const cases: Readonly<Record<string, Case>> = {
  'no workers': { args: '--workers 0', says: /--workers.*'0'.*auto.*1 to 1024/ },
  'workers below zero': { args: '--workers=-2', says: /--workers.*'-2'/ },
  'half a batch': { args: '--batch 1.5', says: /--batch.*'1\.5'.*whole number/ },
  'a batch of nothing': { args: '--batch 0', says: /--batch.*'0'.*at least 1/ },
  'a checkpoint every now and then': {
    args: '--checkpoint-every often',
    says: /--checkpoint-every.*'often'.*500.*30s/,
  },
  'a checkpoint all the time': { args: '--checkpoint-every 0s', says: /--checkpoint-every.*at least 1/ },
  'an option without its value': { args: '--steps', says: /--steps.*missing/ },
  'an option instead of a file': { args: '--profile --steps 3', says: /--profile.*'--steps'.*path/ },
  'a misspelt option': { args: '--bacth 3', says: /--bacth.*\n.*--batch/ },
  'a misspelt command': { args: 'trian', says: /trian.*\n.*train/ },
  'kernels that nobody has': { args: '--kernels gpu', says: /--kernels.*'gpu'.*auto, native, wasm/ },
  'kernels that this machine lacks': {
    args: process.arch === 'x64' ? '--kernels native-neon' : '--kernels native-avx2',
    says: /not available.*expected auto or one of .*wasm/,
  },
  'two configs': { args: 'a.ts b.ts', says: /too many arguments/ },
  'a config that is not there': { args: 'none.ts', says: /no file none\.ts/ },
  'a folder as config': { args: '.', says: /is not a file/ },
  'another kind of file': {
    args: 'c.json',
    files: { 'c.json': '{}' },
    says: /expected a file that ends in \.ts/,
  },
  'more shards than rows': { args: '--batch 4 --shards 8', says: /shards is 8 and batch is 4/ },
  'an output folder that is a file': {
    args: '--out taken',
    files: { taken: '' },
    says: /taken.*another folder/,
  },
  'an output folder that cannot be': { args: '--out /dev/null/x', says: /\/dev\/null\/x/ },
  'a data folder that is not there': { args: '--data none', says: /none lacks train-images/ },
  'a config that takes no data folder': { config: {}, args: 'c.mjs --data x', says: /data\(\) takes none/ },

  'TypeScript that does not parse': {
    args: 'c.ts',
    files: { 'c.ts': 'const a: number = 1;\nconst const b;' },
    says: /c\.ts:2.*const/,
  },
  'JavaScript that does not parse': {
    args: 'c.mjs',
    files: { 'c.mjs': '\nconst const b;' },
    says: /c\.mjs:2.*const/,
  },
  'a config that imports what is not there': {
    args: 'c.mjs',
    files: { 'c.mjs': "import 'nothing'" },
    says: /c\.mjs.*nothing/,
  },
  'a config without default export': {
    args: 'c.ts',
    files: { 'c.ts': 'export const a = 1;' },
    says: /c\.ts has no default export.*defineTraining/,
  },
  'a config that exports no definition': {
    args: 'c.mjs',
    files: { 'c.mjs': 'export default () => 1;' },
    says: /c\.mjs is function.*defineTraining/,
  },
  'a function that is not there': { config: { optimizer: 'optim.adan({})' }, says: /c\.mjs:12.*adan/ },
  'an error in the code of the config': {
    config: { data: "() => { throw new Error('no luck'); }" },
    says: /c\.mjs:8.*no luck/,
  },
  'an unknown key': { config: { bacth: '3' }, says: /unknown key bacth/ },
  'an unknown option': { config: { optimizer: 'optim.adam({ rate: 1 })' }, says: /optim\.adam.*rate/ },
  'a batch below one': { config: { batch: '0' }, says: /batch is 0/ },
  'no rate': { config: { optimizer: 'optim.adam({ lr: -1 })' }, says: /optim\.adam.*-1/ },

  'layers that do not fit': {
    config: { model: '() => nn.sequential(nn.linear(784, 24), nn.linear(25, 10))' },
    says: /linear\(25, 10\).*\[\d+, 24\]/,
  },
  'a model without parameters': {
    config: { model: '() => nn.sequential(nn.relu())' },
    says: /no parameters/,
  },
  'a loss that is no scalar': {
    config: { loss: '(model, { image }) => model(image)' },
    says: /loss.*scalar/,
  },
  'a loss that does not depend on the model': {
    config: { loss: '(model, { image }) => image.mean()' },
    says: /does not depend on any parameter/,
  },
  'a step that looks at values': {
    config: { loss: '(model, { image }) => (model(image).mean().item() > 0 ? model(image).mean() : 1)' },
    says: /not known while the step is traced/,
  },
  'a column that is not there': {
    config: { loss: '(model, { picture }) => model(picture).mean()' },
    says: /batch\.picture.*image, label/,
  },

  'NaN in data': {
    config: { data: rows('[[1, 2], [3, NaN], [5, 6], [7, 8]]') },
    says: /"image".*NaN in row 1/,
  },
  'a label out of range': {
    config: { data: rows('[[1], [2], [3], [4]]', '[0, 1, 5, 1]') },
    says: /labels: 5 in row 2.*0 to 2/,
  },
  'columns of different lengths': {
    config: { data: rows('[[1], [2], [3]]') },
    says: /column "label" has 4 rows, column "image" has 3/,
  },
  'images without labels': {
    args: '--data .',
    files: { 'train-images-idx3-ubyte': images },
    says: /lacks train-images-idx3-ubyte and train-labels/,
  },
  'a truncated file': {
    args: '--data .',
    files: { 't10k-images-idx3-ubyte': images.subarray(0, 1000), 't10k-labels-idx1-ubyte': labels },
    says: /t10k-images-idx3-ubyte/,
  },
  'a truncated gzip file': {
    args: '--data .',
    files: {
      't10k-images-idx3-ubyte.gz': gzipSync(images).subarray(0, 40),
      't10k-labels-idx1-ubyte': labels,
    },
    says: /t10k-images-idx3-ubyte\.gz is a truncated gzip file/,
  },
  'a corrupt file': {
    args: '--data .',
    files: { 't10k-images-idx3-ubyte': images.fill(7, 0, 4), 't10k-labels-idx1-ubyte': labels },
    says: /t10k-images-idx3-ubyte/,
  },
  'weights that are not there': {
    args: 'eval --weights none.safetensors',
    says: /no file none\.safetensors/,
  },
  'weights that are something else': {
    args: 'eval --weights w',
    files: { w: 'something else' },
    says: /w: .*safetensors file/,
  },
  'a run that is not there': { args: 'eval --run none', says: /none\/run\.json.*train --out/ },
  'nothing to evaluate': { args: 'eval', says: /--run DIR.*--weights FILE/ },
};

describe('bad input', () => {
  const folders: string[] = [];
  afterAll(() => {
    for (const folder of folders) rmSync(folder, { recursive: true });
  });

  const folderOf = ({ config, files = {} }: Case): string => {
    const folder = folderWith({ ...(config && { 'c.mjs': configText(config) }), ...files });
    folders.push(folder);
    return folder;
  };

  const wordsOf = ({ args, config }: Case): string[] => {
    const words = (args ?? (config ? 'c.mjs' : '')).split(' ').filter((word) => word !== '');
    if (words[0] === 'eval' || words[0] === 'trian') return words;
    return ['train', ...(words.includes('--out') ? [] : ['--out', 'out/deep']), ...words];
  };

  test.concurrent.each(Object.entries(cases))('%s', async (_, each) => {
    const folder = folderOf(each);
    const before = filesIn(folder);
    const { code, stdout, stderr } = await lockstep(wordsOf(each), { cwd: folder });
    expect(stderr).toMatch(each.says);
    expect(stderr).toMatch(/^lockstep: /);
    expect(stderr).not.toMatch(/\n +at /);
    expect({ code, stdout, files: filesIn(folder) }).toEqual({ code: 2, stdout: '', files: before });
  });

  test('with --json the message is the last line of stdout, too', async () => {
    const folder = folderOf({ config: { batch: '0' }, says: / / });
    const { code, stdout, stderr } = await lockstep(['train', 'c.mjs', '--json'], { cwd: folder });
    expect(code).toBe(2);
    const [error] = events(stdout);
    expect(error).toMatchObject({ type: 'error', code: 'LOCKSTEP_CONFIG' });
    expect(stderr).toContain(String(error?.message));
  });
});
