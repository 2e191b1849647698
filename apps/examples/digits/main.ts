/** One training on different numbers of workers and builds of the kernels: the digest stays. See README.md. */
import { type TrainOptions, train } from 'lockstep';
import { readOptions } from '../options.ts';
import definition from './lockstep.config.ts';

const { epochs, seed } = readOptions({ epochs: 5, seed: 1 });
const ways: TrainOptions[] = [
  { workers: 1, kernels: 'wasm' },
  { workers: 2, kernels: 'wasm' },
  { workers: 1, kernels: 'auto' },
  { workers: 2, kernels: 'auto' },
  { workers: 5, kernels: 'auto' },
  // One shard at a time instead of all of a worker's shards at once.
  { workers: 1, kernels: 'auto', execution: 'separate' },
];

const show = (workers: number | string, kernels: string, ...results: string[]): void =>
  console.log(
    String(workers).padEnd(9) + kernels.padEnd(16) + results.map((cell) => cell.padStart(20)).join(''),
  );

show('workers', 'kernels', 'accuracy', 'images/s', 'digest');
const digests = new Set<string>();
for (const way of ways) {
  const { workers, kernels, validation, samplesPerSecond, weightsDigest } = await train(
    { ...definition, epochs, seed },
    way,
  );
  digests.add(weightsDigest);
  show(
    workers,
    kernels,
    `${(100 * validation!.metrics.accuracy!).toFixed(2)} %`,
    Math.round(samplesPerSecond).toLocaleString('en'),
    `${weightsDigest.slice(0, 16)}…`,
  );
}
console.log(
  digests.size === 1 ? '\none digest: the same bits' : '\nDIFFERENT DIGESTS: a bug, please report it',
);
process.exitCode = digests.size === 1 ? 0 : 1;
