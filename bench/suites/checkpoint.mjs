/** Checkpoints beside what the disk does with as many plain bytes. SHA-256 of every byte is part of both ways. */
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { open, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { train } from '@lockstep/trainer';
import { perceptron } from '../models.mjs';

/** Bytes that are written at a time. */
const PIECE = 1 << 20;

/** 5.8 million parameters: with Adam's two numbers for each, a checkpoint of 70 MB. */
const definition = { ...perceptron(32, [784, 2048, 2048, 10]), steps: 2 };

/** Milliseconds. @param {() => unknown} work */
const timed = async (work) => {
  const began = performance.now();
  await work();
  return performance.now() - began;
};

/** A run in a new folder: bytes and milliseconds of its checkpoint. @param {string} out */
async function write(out) {
  rmSync(out, { recursive: true, force: true });
  let [bytes, milliseconds] = [0, 0];
  await train(definition, {
    out,
    workers: 1,
    on: {
      checkpoint: (event) => {
        [bytes, milliseconds] = [event.bytes, 1000 * event.seconds];
      },
    },
  });
  return { bytes, milliseconds };
}

/** From the call to the first word of a run that goes on from the checkpoint in `out`, or of one that has none. */
const startTime = async (/** @type {string | undefined} */ out) => {
  const began = performance.now();
  let milliseconds = 0;
  await train(definition, {
    ...(out !== undefined && { out, resume: true }),
    workers: 1,
    on: {
      start: () => {
        milliseconds = performance.now() - began;
      },
    },
  });
  return milliseconds;
};

/** @type {import('../suites.mjs').Suite} */
export const checkpoint = {
  unit: 'GB/s',
  cases: async () => {
    const folder = mkdtempSync(join(tmpdir(), 'lockstep-bench-'));
    process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
    const run = join(folder, 'run');
    const { bytes } = await write(run);
    const payload = Buffer.alloc(bytes, 'checkpoint');
    const plain = join(folder, 'plain');
    const rate = (/** @type {number} */ milliseconds) => bytes / milliseconds / 1e6;
    return [
      {
        name: 'plain write and fsync',
        measure: async () =>
          rate(
            await timed(async () => {
              const file = await open(plain, 'w');
              for (let at = 0; at < bytes; at += PIECE) await file.write(payload.subarray(at, at + PIECE));
              await file.sync();
              await file.close();
            }),
          ),
      },
      {
        name: 'checkpoint written',
        measure: async () => rate((await write(run)).milliseconds),
      },
      { name: 'plain read', measure: async () => rate(await timed(() => readFile(plain))) },
      {
        name: 'checkpoint found, proved and restored',
        measure: async () => rate((await startTime(run)) - (await startTime(undefined))),
      },
      {
        name: 'SHA-256',
        measure: async () => rate(await timed(() => createHash('sha256').update(payload).digest())),
      },
    ];
  },
};
