/** A node that leaves, or is welcomed elsewhere, while it makes ready. */

import { add } from '@lockstep/autograd';
import { RefusedError, type Welcome } from '@lockstep/sync';
import { at, MemoryProgram } from '@lockstep/trainer';
import { beforeEach, describe, expect, test, vi } from 'vitest';
import { encodeBundle } from '../wire/bundle.ts';
import { NodeEngine } from './engine.ts';
import { type ContentStore, Engines } from './node.ts';

const memory = new MemoryProgram();
const x = memory.input(at('weights'), 1);
const program = memory.compile(() => [[add(x, 1), at('sums')]]);
const bundle = encodeBundle({
  sampler: { length: 1, batch: 1, seed: 1, shuffle: false, dropLast: false },
  shards: 1,
  sizes: { weights: 1, buffers: 0, trained: 1, values: 1 },
  programs: [{ rows: 1, segments: 1, program, constants: new Uint8Array(0) }],
});

/** Gives a program when it is told to. */
class SlowStore implements ContentStore {
  readonly #asked = new Map<string, (bytes: Uint8Array) => void>();

  get(hash: string): Promise<Uint8Array> {
    return new Promise((resolve) => this.#asked.set(hash, resolve));
  }

  async put(): Promise<void> {}

  async give(hash: string, bytes = bundle): Promise<void> {
    await vi.waitFor(() => expect(this.#asked.has(hash)).toBe(true));
    this.#asked.get(hash)!(bytes);
  }
}

const reallyStart = NodeEngine.start.bind(NodeEngine);
const started = vi.spyOn(NodeEngine, 'start');
const close = vi.fn(async () => {});
let store: SlowStore;
let engines: Engines;

const prepare = (hash: string) => {
  const welcome: Pick<Welcome, 'program' | 'data'> = {
    program: { hash, bytes: bundle.length },
    data: { hash: 'data', bytes: 0 },
  };
  return engines.prepare(welcome, () => Promise.reject(new Error('nothing is to be fetched')));
};

beforeEach(() => {
  close.mockClear();
  started.mockReset().mockResolvedValue({ close } as unknown as NodeEngine);
  store = new SlowStore();
  const data = { hash: 'data', columns: [] };
  engines = new Engines({ workers: 1, kernels: 'wasm', store, data });
});

test('who has left starts no threads any more', async () => {
  const work = prepare('a');
  await engines.close();
  await Promise.all([store.give('a'), expect(work).rejects.toThrow(/meanwhile/)]);
  expect(started).not.toHaveBeenCalled();
});

test('what was made ready for an earlier run is not started beside that of the present one', async () => {
  const [earlier, present] = [prepare('a'), prepare('b')];
  await store.give('b');
  await present;
  await Promise.all([store.give('a'), expect(earlier).rejects.toThrow(/meanwhile/)]);
  expect(started).toHaveBeenCalledTimes(1);
  await engines.close();
  expect(close).toHaveBeenCalledTimes(1);
});

test('a coordinator that comes back finds the threads warm', async () => {
  const [first] = await Promise.all([prepare('a'), store.give('a')]);
  expect(await prepare('a')).toBe(first);
  expect(started).toHaveBeenCalledTimes(1);
});

describe('content that this machine cannot use is a refusal', () => {
  const prepareWith = (bytes: Uint8Array) => {
    const work = prepare('x');
    void store.give('x', bytes);
    return work.then(
      () => 'fine',
      (error: unknown) => error,
    );
  };
  const claiming = (length: number): Uint8Array =>
    encodeBundle({
      sampler: { length, batch: 1, seed: 1, shuffle: false, dropLast: false },
      shards: 1,
      sizes: { weights: 1, buffers: 0, trained: 1, values: 1 },
      programs: [{ rows: 1, segments: 1, program, constants: new Uint8Array(0) }],
    });

  test.each([
    ['not a bundle', new Uint8Array(100), /program bundle: /],
    ['cut off', bundle.subarray(0, bundle.length - 64), /cut off/],
    ['more rows than memory can address', claiming(2 ** 30), /memory|4 GiB/],
  ])('%s', async (_, bytes, says) => {
    started.mockImplementation(reallyStart);
    const error = await prepareWith(bytes);
    expect(error).toBeInstanceOf(RefusedError);
    expect(error).toMatchObject({
      code: 'CONTENT_UNUSABLE',
      message: expect.stringMatching(/^CONTENT_UNUSABLE: .*same version.*more memory/),
    });
    expect((error as Error).message).toMatch(says);
  });

  test('but a mistake keeps its name and its place', async () => {
    started.mockRejectedValue(new TypeError('x is not a function'));
    expect(await prepareWith(bundle)).toMatchObject({
      name: 'TypeError',
      stack: expect.stringContaining('node.test'),
    });
  });
});
