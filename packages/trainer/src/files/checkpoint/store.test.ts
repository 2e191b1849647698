/** Checkpoints on a disk that crashes, refuses and rots: old or new, never mixed, and never a damaged one. */
import { readSafetensors } from '@lockstep/data';
import { describe, expect, test } from 'vitest';
import { AFTERMATHS, type Aftermath, MemoryDisk, random } from '../../../test/memoryDisk.ts';
import { decodeManifest, encodeManifest, type Manifest, sha256 } from './manifest.ts';
import { CheckpointStore, type NewCheckpoint } from './store.ts';

/** The checkpoint after step n: no two have a number in common. */
const generation = (n: number): NewCheckpoint => ({
  manifest: {
    ...{ step: n, epoch: n, batch: n, index: n, rows: n, sums: [n, Number.NaN], finished: false },
    definition: { seed: n },
    definitionHash: `hash ${n}`,
  },
  tensors: [
    ['weights/0.weight', { shape: [2, 2], data: Float32Array.of(n, n / 3, -n, 1 / n) }],
    ['slot m/0.weight', { shape: [2, 2], data: new Float32Array(4).fill(n) }],
  ],
});

/** Which generation a store finds: 0 for none. Throws when it is mixed of several. */
async function found(disk: MemoryDisk): Promise<{ step: number; damaged: readonly string[] }> {
  const { checkpoint, damaged } = await new CheckpointStore(disk).newest();
  const names = damaged.map(({ name }) => name);
  if (!checkpoint) return { step: 0, damaged: names };
  const { step } = checkpoint.manifest;
  const { manifest, tensors } = generation(step);
  expect(checkpoint.manifest).toMatchObject(manifest);
  for (const [name, { shape, data }] of tensors)
    expect(checkpoint.tensors.get(name)).toMatchObject({ shape, data });
  return { step, damaged: names };
}

const SAVES = 4;

/** Saves until the end or until the process stops; gives the last step that was said to be saved. */
async function saveAll(disk: MemoryDisk): Promise<number> {
  const store = new CheckpointStore(disk);
  let saved = 0;
  for (let n = 1; n <= SAVES; n++) {
    const done = await store.save(generation(n)).catch(() => undefined);
    if (done) saved = n;
  }
  return saved;
}

/** Every point at which a process can stop: before each operation, and in the middle of it. */
async function crashPoints(): Promise<number[]> {
  const disk = new MemoryDisk();
  await saveAll(disk);
  return Array.from({ length: 2 * disk.operations }, (_, i) => i / 2);
}

interface Crash {
  readonly stopAt: number;
  readonly aftermath: Aftermath;
  readonly seed: number;
}

/** All points with all that a crash can leave: what is left by chance, several times. */
async function crashes(): Promise<Crash[]> {
  const points = await crashPoints();
  return points.flatMap((stopAt) =>
    AFTERMATHS.flatMap((aftermath) =>
      Array.from({ length: aftermath === 'some' ? 8 : 1 }, (_, seed) => ({ stopAt, aftermath, seed })),
    ),
  );
}

const crashed = async ({ stopAt, aftermath, seed }: Crash, lies = false) => {
  const disk = new MemoryDisk();
  Object.assign(disk, { stopAt, lies });
  const saved = await saveAll(disk);
  return { saved, disk: disk.crash(aftermath, random(seed + 1000 * stopAt)) };
};

describe('a crash', () => {
  test('at any point leaves the old or the new checkpoint, whole, and a disk to go on with', async ({
    annotate,
  }) => {
    const all = await crashes();
    const seen = { old: 0, new: 0 };
    for (const each of all) {
      const { saved, disk } = await crashed(each);
      const { step, damaged } = await found(disk);
      expect({ ...each, damaged, step: step === saved || step === saved + 1 }).toEqual({
        ...each,
        damaged: [],
        step: true,
      });
      seen[step === saved ? 'old' : 'new']++;
      await new CheckpointStore(disk).save(generation(9));
      const after = disk.crash('nothing', random(1));
      expect(await found(after)).toEqual({ step: 9, damaged: [] });
      // The last one and the one before it, and nothing that the dead writer left.
      expect([...disk.files.keys()].filter((name) => name.endsWith('.part'))).toEqual([]);
      expect(disk.files.size).toBe(step === 0 ? 2 : 4);
    }
    await annotate(
      `${all.length} crashes at ${new Set(all.map(({ stopAt }) => stopAt)).size} points: ` +
        `${seen.old} old, ${seen.new} new`,
    );
    expect(all.length).toBeGreaterThan(1000);
    expect(Math.min(seen.old, seen.new)).toBeGreaterThan(20);
  });

  test('of the process alone never looks like a manifest that was lost', async () => {
    for (const stopAt of await crashPoints()) {
      const { disk } = await crashed({ stopAt, aftermath: 'everything', seed: 0 });
      const store = new CheckpointStore(disk);
      const { checkpoint } = await store.newest();
      const lost = await store.lostManifests(checkpoint?.manifest.sequence ?? 0);
      expect({ stopAt, lost }).toEqual({ stopAt, lost: [] });
    }
  });

  test('on a disk that does not sync loses what was said to be saved: the test would tell', async () => {
    let lost = 0;
    for (const each of await crashes()) {
      const { saved, disk } = await crashed(each, true);
      const { step } = await found(disk);
      if (step < saved) lost++;
    }
    expect(lost).toBeGreaterThan(100);
  });
});

describe('a disk that refuses', () => {
  test('any one operation costs at most that checkpoint', async () => {
    const points = (await crashPoints()).filter(Number.isInteger);
    for (const at of points) {
      const disk = new MemoryDisk();
      disk.refuses = (operation) => operation === at;
      const saved = await saveAll(disk);
      expect({ at, ...(await found(disk)) }).toEqual({ at, step: saved, damaged: [] });
      expect(saved).toBeGreaterThanOrEqual(SAVES - 1);
    }
  });

  test('everything from some point on, until there is room again, keeps the last one', async () => {
    const points = (await crashPoints()).filter(Number.isInteger);
    for (const at of points) {
      const disk = new MemoryDisk();
      disk.refuses = (operation) => operation >= at;
      const store = new CheckpointStore(disk);
      let saved = 0;
      for (let n = 1; n <= SAVES; n++) if (await store.save(generation(n)).catch(() => undefined)) saved = n;
      const { step, damaged } = await found(disk);
      // One that has its name, and could neither be synced nor removed, is whole as long as the machine runs.
      expect({ at, damaged, kept: step === saved || step === saved + 1 }).toEqual({
        at,
        damaged: [],
        kept: true,
      });
      disk.refuses = () => false;
      await store.save(generation(9));
      expect(await found(disk.crash('nothing', random(1)))).toEqual({ step: 9, damaged: [] });
    }
  });
});

/** A disk with two generations. */
async function twoGenerations(): Promise<MemoryDisk> {
  const disk = new MemoryDisk();
  const store = new CheckpointStore(disk);
  await store.save(generation(1));
  await store.save(generation(2));
  return disk;
}

const NEWER = ['checkpoint-000002.json', 'checkpoint-000002.safetensors'];

describe('damage', () => {
  const flip = (bytes: Uint8Array, at: number, mask: number): Uint8Array => {
    const copy = Uint8Array.from(bytes);
    copy[at]! ^= mask;
    return copy;
  };

  test('of any bit of any byte, and any truncation, is detected: the generation before it is used', async ({
    annotate,
  }) => {
    const disk = await twoGenerations();
    let [cases, detected] = [0, 0];
    for (const name of NEWER) {
      const whole = disk.files.get(name)!;
      for (let at = 0; at < whole.length; at++) {
        const masks = [1 << (at % 8), 0xff];
        for (const bytes of [...masks.map((mask) => flip(whole, at, mask)), whole.slice(0, at)]) {
          disk.put(name, bytes);
          cases++;
          const { step, damaged } = await found(disk);
          if (step === 1 && damaged.join() === NEWER[0]) detected++;
        }
      }
      disk.put(name, Buffer.concat([whole, Buffer.of(0x20)]));
      expect(await found(disk)).toEqual({ step: 1, damaged: [NEWER[0]] });
      disk.put(name, whole);
    }
    await annotate(`${detected} of ${cases} detected`);
    expect(cases).toBeGreaterThan(2000);
    expect(detected).toBe(cases);
  });

  test('is left alone, while whole generations go', async () => {
    const disk = await twoGenerations();
    const damaged = flip(disk.files.get(NEWER[1]!)!, 100, 1);
    disk.put(NEWER[1]!, damaged);
    const store = new CheckpointStore(disk);
    for (const n of [3, 4, 5]) await store.save(generation(n));
    expect([...disk.files.keys()].sort()).toEqual(
      [2, 4, 5].flatMap((n) => [`checkpoint-00000${n}.json`, `checkpoint-00000${n}.safetensors`]),
    );
    expect(disk.files.get(NEWER[1]!)).toEqual(damaged);
  });

  test.each<[string, number, string[]]>([
    ['checkpoint-000002.json', 1, ['checkpoint-000002.json']],
    // That of an older one is of no use any more.
    ['checkpoint-000001.json', 2, []],
    ['checkpoint-000002.safetensors', 1, []],
  ])('%s is lost: it is missed', async (name, newest, expected) => {
    const disk = await twoGenerations();
    disk.put(name, undefined);
    const lost = await new CheckpointStore(disk).lostManifests(newest);
    expect(lost.map((each) => each.name)).toEqual(expected);
  });

  test('of a manifest that was being written is not a loss', async () => {
    const disk = await twoGenerations();
    disk.put(`${NEWER[0]}.part`, disk.files.get(NEWER[0]!));
    disk.put(NEWER[0]!, undefined);
    expect(await new CheckpointStore(disk).lostManifests(1)).toEqual([]);
  });

  test('of all is told', async () => {
    const disk = await twoGenerations();
    for (const name of disk.files.keys()) if (name.endsWith('.safetensors')) disk.put(name, undefined);
    expect(await found(disk)).toEqual({ step: 0, damaged: [NEWER[0], 'checkpoint-000001.json'] });
  });

  test('tensors of another generation do not pass', async () => {
    const disk = await twoGenerations();
    disk.put(NEWER[1]!, disk.files.get('checkpoint-000001.safetensors'));
    expect(await found(disk)).toEqual({ step: 1, damaged: [NEWER[0]] });
  });

  test('a manifest under another name does not pass', async () => {
    const disk = await twoGenerations();
    for (const name of NEWER) disk.put(name.replace('2', '7'), disk.files.get(name));
    expect(await found(disk)).toEqual({ step: 2, damaged: ['checkpoint-000007.json'] });
  });

  test('files of others are no checkpoints, and are left alone', async () => {
    const disk = await twoGenerations();
    const others = [
      'notes.txt',
      'checkpoint-x.json',
      '../checkpoint-000009.json',
      'checkpoint-000009.json.bak',
    ];
    for (const name of others) disk.put(name, Buffer.from('{}'));
    await new CheckpointStore(disk).save(generation(3));
    expect(await found(disk)).toEqual({ step: 3, damaged: [] });
    expect([...disk.files.keys()]).toEqual(expect.arrayContaining(others));
  });
});

describe('a manifest', () => {
  const manifest: Manifest = {
    ...generation(3).manifest,
    sequence: 3,
    tensors: { bytes: 10, sha256: sha256('tensors') },
    validation: { loss: Number.POSITIVE_INFINITY, metrics: { accuracy: Number.NaN } },
  };

  test('comes back as it went, with what JSON has no numbers for', () => {
    expect(decodeManifest(encodeManifest(manifest))).toMatchObject(manifest);
  });

  /** With a digest that is right. */
  const signed = (text: string): Uint8Array => {
    const rest = text.slice('{\n'.length);
    return Buffer.from(`{\n  "sha256": "${sha256(rest)}",\n${rest}`);
  };

  test.each<[string, object, RegExp]>([
    ['no format', { format: undefined }, /format/],
    ['another format', { format: 'lockstep checkpoint 2' }, /format/],
    ['a step below zero', { step: -1 }, /step/],
    ['half a batch', { batch: 0.5 }, /batch/],
    ['a step beyond whole numbers', { step: 2 ** 60 }, /step/],
    ['sums that are texts', { sums: ['1'] }, /sums\.0/],
    ['no tensors', { tensors: undefined }, /tensors/],
    ['a digest that is a path', { tensors: { bytes: 1, sha256: '../../etc/passwd' } }, /tensors\.sha256/],
    ['a best without a value', { best: { epoch: 1 } }, /best\.value/],
  ])('with %s is refused, even with its digest', (_, change, message) => {
    const value = {
      format: 'lockstep checkpoint 1',
      ...manifest,
      sums: [],
      validation: undefined,
      ...change,
    };
    expect(() => decodeManifest(signed(JSON.stringify(value, undefined, 2)))).toThrow(message);
  });

  test('that is not JSON is refused, even with its digest', () => {
    expect(() => decodeManifest(signed('{\n  "step": }\n'))).toThrow('not JSON');
    expect(() => decodeManifest(new Uint8Array(0))).toThrow('SHA-256');
  });
});

test('tensors are safetensors, for any reader', async () => {
  const disk = await twoGenerations();
  const tensors = readSafetensors(disk.files.get(NEWER[1]!)!);
  expect(tensors.get('weights/0.weight')).toMatchObject({ dtype: 'F32', shape: [2, 2] });
});

describe('batches in doubt', () => {
  const kept = async (disk: MemoryDisk): Promise<number[]> =>
    (await new CheckpointStore(disk).manifests()).map(({ index }) => index);

  test.each<[doubts: number[], kept: number[]]>([
    [[], [8, 9]],
    [[3], [3, 8, 9]],
    [
      [5, 5, 2, 9],
      [2, 5, 8, 9],
    ],
    [[0], [8, 9]],
    [
      [1, 2, 3, 4, 5, 6, 7],
      [1, 2, 3, 4, 5, 6, 7, 8, 9],
    ],
  ])('of %j, the newest generation before each stays', async (doubts, expected) => {
    const disk = new MemoryDisk();
    const store = new CheckpointStore(disk);
    for (let n = 1; n <= 9; n++) await store.save(generation(n), doubts);
    expect(await kept(disk)).toEqual(expected);
    // Without doubts, they go with the next one.
    await store.save(generation(10));
    expect(await kept(disk)).toEqual([9, 10]);
  });

  test('are gone back over: later generations are deleted, lastingly, and the next one follows', async () => {
    for (const at of [3, 4, 5, 9, 20]) {
      const disk = new MemoryDisk();
      const store = new CheckpointStore(disk);
      for (const n of [1, 3, 5, 7, 9]) await store.save(generation(n), [1, 3, 5, 7]);
      const found = await store.back(at, () => true);
      const expected = [1, 3, 5, 7, 9].filter((index) => index <= at);
      expect(found?.manifest.index).toBe(expected.at(-1));
      expect(await kept(disk.crash('nothing', random(1)))).toEqual(expected);
      await store.save(generation(11), [1, 3, 5, 7]);
      expect(await kept(disk)).toEqual([...expected, 11]);
    }
  });

  test('before all generations leave none', async () => {
    const disk = new MemoryDisk();
    const store = new CheckpointStore(disk);
    await store.save(generation(4));
    expect(await store.back(3, () => true)).toBe(undefined);
    expect(disk.files.size).toBe(0);
  });
});
