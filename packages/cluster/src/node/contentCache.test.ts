import { createHash } from 'node:crypto';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { diskStore } from './contentCache.ts';

const folder = mkdtempSync(join(tmpdir(), 'lockstep-test-'));
afterAll(() => rmSync(folder, { recursive: true }));

const bytes = Uint8Array.from({ length: 1000 }, (_, i) => i % 251);
const hash = createHash('sha256').update(bytes).digest('hex');

describe('content on the disk', () => {
  test('is kept under its hash, whoever makes the folder', async () => {
    const stores = [1, 2, 3].map(() => diskStore(join(folder, 'a/b')));
    await Promise.all(stores.map((store) => store.put(hash, bytes)));
    expect(readdirSync(join(folder, 'a/b'))).toEqual([hash]);
    expect(Buffer.compare((await stores[0]!.get(hash, bytes.length))!, bytes)).toBe(0);
  });

  test.each([
    ['a flipped byte', bytes.with(500, 0)],
    ['a part', bytes.subarray(0, 999)],
    ['nothing', bytes.subarray(0, 0)],
  ])('%s is as none, and is replaced', async (_, wrong) => {
    const store = diskStore(folder);
    writeFileSync(join(folder, hash), wrong);
    expect(await store.get(hash, bytes.length)).toBeUndefined();
    await store.put(hash, bytes);
    expect(await store.get(hash, bytes.length)).toBeDefined();
  });

  test('of another folder is found by what it is, not by its name', async () => {
    const extra = join(folder, 'extra');
    await diskStore(extra).put(hash, bytes);
    writeFileSync(join(extra, 'like it'), bytes.with(0, 9));
    expect(await diskStore(join(folder, 'none'), extra).get(hash, bytes.length)).toBeDefined();
    expect(await diskStore(join(folder, 'none'), join(folder, 'nor here')).get(hash, 1000)).toBeUndefined();
  });

  test('is not kept where the disk refuses, and nothing is thrown', async () => {
    writeFileSync(join(folder, 'file'), '');
    for (const refusing of [join(folder, 'file'), ...(process.platform === 'linux' ? ['/proc/none'] : [])]) {
      const store = diskStore(refusing);
      await store.put(hash, bytes);
      expect(await store.get(hash, bytes.length)).toBeUndefined();
    }
  });

  test('a name that is no hash never becomes a path', async () => {
    const store = diskStore(folder);
    await store.put('../escaped', bytes);
    expect(await store.get('../escaped', bytes.length)).toBeUndefined();
    expect(readdirSync(tmpdir())).not.toContain('escaped');
  });
});
