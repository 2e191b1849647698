import { createHash } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { clearCache, defaultCache, diskStore, listCache } from './contentCache.ts';

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
    expect(await diskStore(join(folder, 'none'), { extra }).get(hash, bytes.length)).toBeDefined();
    const nowhere = { extra: join(folder, 'nor here') };
    expect(await diskStore(join(folder, 'none'), nowhere).get(hash, 1000)).toBeUndefined();
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

describe('the least recently used goes first', () => {
  const hashOf = (content: Uint8Array): string => createHash('sha256').update(content).digest('hex');
  /** Five different contents of 100 bytes, by letter. */
  const contents = Object.fromEntries(
    [...'abcde'].map((letter, i) => [letter, new Uint8Array(100).fill(i + 1)]),
  );
  const nameOf = (letter: string): string => hashOf(contents[letter]!);
  let cache = '';
  let runs = 0;
  beforeEach(() => {
    cache = join(folder, `quota${runs++}`);
  });
  const put = async (letter: string, quotaBytes: number, usedAt?: number): Promise<void> => {
    await diskStore(cache, { quotaBytes }).put(nameOf(letter), contents[letter]!);
    const path = join(cache, nameOf(letter));
    if (usedAt !== undefined && existsSync(path)) utimesSync(path, usedAt, usedAt);
  };
  const held = async (): Promise<string> => {
    const names = (await listCache(cache)).map(({ hash }) => hash);
    return [...'abcde'].filter((letter) => names.includes(nameOf(letter))).join('');
  };

  test.each([
    ['as many as fit', 300, 'bcd'],
    ['not one byte more', 299, 'cd'],
    ['no quota: none', 0, ''],
    ['less than one: none, and none goes for it', 99, ''],
  ])('%s: of 4 at %d bytes', async (_, quota, expected) => {
    for (const [i, letter] of [...'abcd'].entries()) await put(letter, quota, 1000 + i);
    expect(await held()).toBe(expected);
  });

  test('what is read counts as used', async () => {
    for (const [i, letter] of [...'abc'].entries()) await put(letter, 300, 1000 + i);
    expect(await diskStore(cache).get(nameOf('a'), 100)).toBeDefined();
    await put('d', 300);
    expect(await held()).toBe('acd');
  });

  test('content larger than the quota leaves the others alone', async () => {
    await put('a', 300);
    const large = new Uint8Array(301);
    await diskStore(cache, { quotaBytes: 300 }).put(hashOf(large), large);
    expect(await held()).toBe('a');
  });

  test('content that is there already makes room for itself alone', async () => {
    for (const [i, letter] of [...'abc'].entries()) await put(letter, 300, 1000 + i);
    await put('c', 300);
    expect(await held()).toBe('abc');
  });

  test('several nodes at once stay within the quota', async () => {
    const stores = [...'abcde'].map((letter) => put(letter, 250));
    await Promise.all(stores);
    expect((await held()).length).toBeLessThanOrEqual(2);
  });

  test('files of others stay, and are not listed; what died writers left behind goes after an hour', async () => {
    mkdirSync(cache);
    const old = `${nameOf('a')}.01234567.tmp`;
    const young = `${nameOf('b')}.01234567.tmp`;
    for (const name of ['notes.txt', old, young]) writeFileSync(join(cache, name), 'x'.repeat(50));
    utimesSync(join(cache, 'notes.txt'), 1, 1);
    utimesSync(join(cache, old), 1, 1);
    await put('c', 150);
    expect(readdirSync(cache).sort()).toEqual([nameOf('c'), young, 'notes.txt'].sort());
    expect(await clearCache(cache)).toEqual({ files: 2, bytes: 150 });
    expect(readdirSync(cache)).toEqual(['notes.txt']);
  });

  test('a cache that is not there is empty', async () => {
    expect(await listCache(join(folder, 'never'))).toEqual([]);
    expect(await clearCache(join(folder, 'never'))).toEqual({ files: 0, bytes: 0 });
  });

  test.skipIf(process.platform === 'win32')('only its owner can read what is kept', async () => {
    const modeOf = (path: string): string => (statSync(path).mode & 0o777).toString(8);
    const umask = process.umask(0);
    try {
      await put('a', 300);
      expect(modeOf(cache)).toBe('700');
      expect(modeOf(join(cache, nameOf('a')))).toBe('600');
      // A folder of somebody's choice is theirs; the default one is ours, also when it was made before.
      chmodSync(cache, 0o755);
      await put('b', 300);
      expect([modeOf(cache), modeOf(join(cache, nameOf('b')))]).toEqual(['755', '600']);
      vi.stubEnv('XDG_CACHE_HOME', cache);
      mkdirSync(defaultCache(), { mode: 0o755 });
      await diskStore(defaultCache()).put(nameOf('c'), contents.c!);
      expect(modeOf(defaultCache())).toBe('700');
    } finally {
      process.umask(umask);
      vi.unstubAllEnvs();
    }
  });
});
