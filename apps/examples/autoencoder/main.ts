/** Trains the autoencoder, and writes images beside what is left of them after 16 numbers. See README.md. */
import { data, loadModel, train } from 'lockstep';
import { readOptions } from '../options.ts';
import definition, { autoencoder, CODE, PIXELS } from './lockstep.config.ts';

const { epochs, code, workers, seed, out } = readOptions({
  ...{ epochs: 20, code: CODE, workers: 2, seed: 1 },
  out: 'reconstructions.png',
});
const SIDE = 28;
/** One image of each digit. */
const SHOWN = 10;

const images = await definition.data({});
const held = images.validation!;
const own = { ...definition, data: () => images, model: () => autoencoder(code), epochs, seed };
const { weights, validation, seconds, weightsDigest } = await train(own, { workers });
const { error } = validation!.metrics;

const rows = Int32Array.from({ length: SHOWN }, (_, digit) => held.columns.label.data.indexOf(digit));
const shown = data.takeRows(held, rows);
const model = await loadModel(own, { weights, workers });
const reconstructed = (await model.predict(shown)).data;
await model.close();

const { data: bytes } = shown.columns.image;
await data.writePng(out, {
  shape: [2 * SIDE, SHOWN * SIDE],
  data: sheet([Float32Array.from(bytes, (byte) => byte / 255), Float32Array.from(reconstructed)]),
});

console.log(`${PIXELS} pixels through ${code} numbers, mean error of a pixel (0 to 1), on images not seen`);
console.log(`the mean image          ${naiveError().toFixed(4)}`);
console.log(`the autoencoder         ${error.toFixed(4)}`);
console.log(`\n${out}: above the images, below what came out`);
console.log(`${seconds.toFixed(1)} s on ${workers} workers, weights ${weightsDigest.slice(0, 16)}…`);

/** Lines of images as one large image, row by row of pixels. */
function sheet(lines: readonly Float32Array[]): Float32Array {
  const width = SHOWN * SIDE;
  return Float32Array.from({ length: lines.length * SIDE * width }, (_, i) => {
    const [y, x] = [Math.floor(i / width), i % width];
    const line = lines[Math.floor(y / SIDE)]!;
    return line[Math.floor(x / SIDE) * PIXELS + (y % SIDE) * SIDE + (x % SIDE)]!;
  });
}

/** The error of who always answers with the mean of the images to train on. */
function naiveError(): number {
  const { data: train } = images.columns.image;
  const mean = new Float64Array(PIXELS);
  train.forEach((byte, i) => {
    mean[i % PIXELS]! += byte / 255 / images.length;
  });
  const { data: test } = held.columns.image;
  let total = 0;
  test.forEach((byte, i) => {
    total += Math.abs(byte / 255 - mean[i % PIXELS]!);
  });
  return total / test.length;
}
