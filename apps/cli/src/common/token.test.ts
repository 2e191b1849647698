import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { readToken } from './token.ts';

const folder = mkdtempSync(join(tmpdir(), 'lockstep-test-'));
afterAll(() => rmSync(folder, { recursive: true }));

const TOKEN = '0123456789abcdef0123456789abcdef';
const OTHER = 'f'.repeat(16) + TOKEN;
const fileOf = (content: string): string => {
  const path = join(folder, 'token');
  writeFileSync(path, content);
  return path;
};

test.each([
  [{}, {}, undefined],
  [{}, { LOCKSTEP_TOKEN: '' }, undefined],
  [{}, { LOCKSTEP_TOKEN: TOKEN }, TOKEN],
  [{}, { LOCKSTEP_TOKEN: `${TOKEN}\n` }, TOKEN],
  [{ token: OTHER }, { LOCKSTEP_TOKEN: TOKEN }, OTHER],
])('%j with %j in the environment: %s', (flags, environment, expected) => {
  expect(readToken('join', flags, environment)).toBe(expected);
});

test.each([TOKEN, `${TOKEN}\n`, `${TOKEN}\r\n`, `\uFEFF${TOKEN}\n`])('a file of %j', (content) => {
  const flags = { tokenFile: fileOf(content) };
  expect(readToken('join', flags, { LOCKSTEP_TOKEN: OTHER })).toBe(TOKEN);
});

test.each([
  ['', /^join: --token-file .*token is empty; expected a file with the token as its only line$/],
  [' \n', /is empty/],
  [`${TOKEN}\n${OTHER}\n`, /holds more than a token/],
  ['x'.repeat(5000), /holds more than a token/],
])('a file that is none: %j', (content, says) => {
  const read = () => readToken('join', { tokenFile: fileOf(content) }, {});
  expect(read).toThrow(says);
  expect(read).not.toThrow(TOKEN);
});

test('a file that is not there', () => {
  expect(() => readToken('serve', { tokenFile: join(folder, 'none') }, {})).toThrow(
    /^serve: --token-file .*none cannot be read \(ENOENT/,
  );
});
