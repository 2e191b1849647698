import { createToken } from '@lockstep/sync';
import { expect, test } from 'vitest';
import { joinCommand } from './joinCommand.ts';

const [url, token, fingerprint] = ['wss://192.0.2.2:7070', createToken(), 'ab'.repeat(32)];
const urls = [url, 'wss://192.0.2.3:7070'];

test.each([
  [{ urls, token: undefined, fingerprint: undefined }, false, `lockstep join ${url}`],
  [{ urls, token, fingerprint: undefined }, false, `LOCKSTEP_TOKEN=${token} lockstep join ${url}`],
  [{ urls, token, fingerprint }, true, `lockstep join ${url} --token-file FILE --fingerprint ${fingerprint}`],
])('%j, token given: %s', (listener, isTokenGiven, command) => {
  expect(joinCommand(listener, isTokenGiven)).toBe(command);
});

test('a token is never a word of the process that joins', () => {
  const command = joinCommand({ urls, token, fingerprint }, false);
  // A shell takes assignments before the first word into the environment.
  const words = command.split(' ').filter((word) => !/^[A-Z_]+=[\w-]+$/.test(word));
  expect(words[0]).toBe('lockstep');
  expect(words.join(' ')).not.toContain(token);
});
