import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ListenOptions } from '@lockstep/sync';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { dropAccess, keepAccess } from './access.ts';

let out: string;
let file: string;
beforeEach(() => {
  out = mkdtempSync(join(tmpdir(), 'lockstep-test-'));
  file = join(out, 'access.json');
});
afterEach(() => rmSync(out, { recursive: true }));

const outer: ListenOptions = { host: '0.0.0.0', tls: 'selfSigned' };

test('a run that is resumed is reached as before; another one is not', async () => {
  const first = await keepAccess(outer, { out });
  expect(first).toMatchObject({
    host: '0.0.0.0',
    token: expect.any(String),
    tls: { cert: expect.any(String) },
  });
  expect(await keepAccess(outer, { out, resume: true })).toEqual(first);
  const { token, tls } = await keepAccess(outer, { out });
  expect(token).not.toBe(first.token);
  expect(tls).not.toEqual(first.tls);
});

test.skipIf(process.platform === 'win32')('only the owner of the folder reads it', async () => {
  writeFileSync(file, '', { mode: 0o644 });
  await keepAccess(outer, { out });
  expect(statSync(file).mode & 0o777).toBe(0o600);
});

test('it goes when the run is done', async () => {
  await keepAccess(outer, { out });
  dropAccess(out);
  expect(existsSync(file)).toBe(false);
  dropAccess(out);
  dropAccess(undefined);
});

test.each<[string, ListenOptions]>([
  ['on loopback', {}],
  [
    'with a token and a certificate that were given',
    { host: '0.0.0.0', token: 'x', tls: { cert: 'c', key: 'k' } },
  ],
])('nothing is made or kept %s', async (_, where) => {
  expect(await keepAccess(where, { out, resume: true })).toBe(where);
  expect(existsSync(file)).toBe(false);
});

test('what was given counts, whatever is kept; what is broken is made anew', async () => {
  const { token } = await keepAccess(outer, { out });
  const mine = await keepAccess({ ...outer, token: 'mine' }, { out, resume: true });
  expect(mine.token).toBe('mine');
  writeFileSync(file, '{"token": 7}');
  expect((await keepAccess(outer, { out, resume: true })).token).not.toBe(token);
});
