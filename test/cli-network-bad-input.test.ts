/** What is wrong with the words of serve and join, or with who answers: one message that says the way out. */
import { type AddressInfo, createServer, type Server } from 'node:net';
import { encodeControl } from '@lockstep/protocol';
import { type Connection, listen } from '@lockstep/sync';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { folderWith, lockstep } from './command.ts';

const cwd = folderWith({ 'no.pem': 'no PEM', empty: '' });
const TOKEN = '0123456789abcdef0123456789abcdef';
let taken: Server;
let port = 0;
beforeAll(() =>
  new Promise<void>((resolve) => {
    taken = createServer((socket) => socket.end('HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n'));
    taken.listen(0, '127.0.0.1', resolve);
  }).then(() => {
    port = (taken.address() as AddressInfo).port;
  }),
);
afterAll(() => void taken.close());

test.each<[what: string, args: string, says: RegExp]>([
  ['no address to join', 'join', /missing.*url/],
  ['an address without a scheme', 'join localhost', /URL_MALFORMED.*ws:\/\/host:port/],
  ['a page instead of a socket', 'join http://127.0.0.1:7070', /URL_MALFORMED/],
  ['a token in the address', `join ws://x:${TOKEN}@127.0.0.1:7070`, /URL_MALFORMED/],
  ['a pin without a certificate', `join ws://127.0.0.1:7070 --fingerprint ${'ab'.repeat(32)}`, /wss/],
  ['no workers to join with', 'join ws://127.0.0.1:7070 --workers 0', /--workers.*'0'/],
  [
    'a name that no terminal should show',
    'join ws://127.0.0.1:7070 --name \u001b[31m',
    /name: got .*expected at most 64/,
  ],
  [
    'a data folder that is not there',
    'join ws://127.0.0.1:7070 --data none',
    /data: there is no folder none/,
  ],
  ['a port beyond the last', 'serve --port 65536', /--port.*'65536'.*0.*to 65535/],
  ['a port that is taken', 'serve --port TAKEN', /cannot listen on 127\.0\.0\.1:\d+.*--port/],
  ['a host that nobody knows', 'serve --host 300.1.1.1', /cannot listen on 300\.1\.1\.1:7070.*--host/],
  ['a token that can be guessed', 'serve --host 0.0.0.0 --port 0 --token abc', /TOKEN_WEAK.*128/],
  [
    'a token file that is not there',
    'serve --token-file none',
    /--token-file none cannot be read.*expected a file/,
  ],
  [
    'a token file that is empty',
    'join ws://127.0.0.1:7070 --token-file empty',
    /--token-file empty is empty/,
  ],
  ['a token and a file of one', `serve --token ${TOKEN} --token-file no.pem`, /--token-file.*--token/],
  ['a certificate without its key', 'serve --cert a.pem', /--cert and --key/],
  ['a certificate that is not there', 'serve --cert a.pem --key b.pem', /cannot read a\.pem/],
  ['a certificate that is none', 'serve --cert no.pem --key no.pem', /CERTIFICATE_MALFORMED.*not PEM/],
  ['a pin that is none', 'join wss://127.0.0.1:7070 --fingerprint 1234', /FINGERPRINT_MALFORMED.*64/],
  ['fewer than one node', 'serve --min-nodes 0', /--min-nodes.*'0'/],
  ['resuming what was never written', 'serve --port 0 --resume', /resume.*out/],
])('%s', async (_, args, says) => {
  const { code, stderr } = await lockstep(args.replace('TAKEN', String(port)).split(' '), { cwd });
  expect(stderr).toMatch(says);
  expect(stderr).not.toMatch(/mistake in Lockstep|\n +at /);
  expect(stderr).not.toContain(TOKEN);
  expect(code).toBe(2);
});

test('why there is no connection is said once, in words; then a node tries again until it is told to leave', async () => {
  for (const [url, says] of [
    [
      'ws://127.0.0.1:1',
      'UNREACHABLE: ws://127.0.0.1:1: nothing is listening there (ECONNREFUSED); trying again',
    ],
    ['ws://no.such.host.invalid:1', 'UNREACHABLE: ws://no.such.host.invalid:1: no'],
  ] as const) {
    let asked = false;
    const { code, stdout } = await lockstep(['join', url], {
      cwd,
      onOutput: (output, child) => {
        if (asked || !output.includes('trying again')) return;
        asked = true;
        setTimeout(() => child.kill('SIGINT'), 300);
      },
    });
    const [first, second, ...rest] = stdout.trimEnd().split('\n');
    expect(first?.startsWith(says), stdout).toBe(true);
    expect(second).toMatch(/^leaving/);
    expect(rest).toEqual(['left: 0 shards of 0 batches computed here']);
    expect(code).toBe(130);
  }
});

test('a node that does not know the token goes at once, and says so', async () => {
  const joins: Promise<{ code: number | null; stderr: string }>[] = [];
  const words = ['serve', '--json', '--port', '0', '--workers', '0', '--token', TOKEN];
  await lockstep(words, {
    cwd,
    onOutput: (stdout, child) => {
      const url = /"urls?":\[?"(ws:[^"]+)"/.exec(stdout)?.[1];
      if (url === undefined || joins.length > 0) return;
      joins.push(
        lockstep(['join', url, '--token', TOKEN.replace('0', 'f')], { cwd }),
        lockstep(['join', url], { cwd }),
      );
      void Promise.all(joins).finally(() => child.kill('SIGINT'));
    },
  });
  expect(joins).toHaveLength(2);
  const [wrong, none] = await Promise.all(joins);
  expect(wrong).toMatchObject({ code: 2, stderr: expect.stringMatching(/TOKEN_WRONG/) });
  expect(none).toMatchObject({ code: 2, stderr: expect.stringMatching(/TOKEN_REQUIRED/) });
});

describe('a node that a coordinator refuses ends with code 2, and gives the whole reason', () => {
  const END = 'install the same version of Lockstep on both machines';
  const long = `why ${'x'.repeat(300)}; ${END}`;
  const refused =
    (code: string, message: string) =>
    (connection: Connection): void => {
      const nobody = { run: 0n, incarnation: 0, session: 0, step: 0, lo: 0, hi: 0, offset: 0 };
      connection.send(
        { type: 'control', ...nobody },
        encodeControl({ type: 'refused', code, message: message.slice(0, 1000) }),
      );
      connection.close(code, message);
    };

  // What a frame decoder says of version 99: the reason has to fit into a close frame.
  const version =
    'the peer speaks version 99 of the protocol, this is version 1; use the same Lockstep on both machines';

  test.each<[string, string, string, (connection: Connection) => void]>([
    ['another arithmetic', 'WRONG_ARITHMETIC', long, refused('WRONG_ARITHMETIC', long)],
    ['a gradient with NaN', 'NOT_FINITE', long, refused('NOT_FINITE', long)],
    ['a frame of another version', 'BAD_VERSION', version, (node) => node.close('BAD_VERSION', version)],
  ])('%s', async (_, code, reason, answer) => {
    const listener = await listen({ port: 0 }, (connection) => ({
      frame: () => answer(connection),
      closed: () => {},
    }));
    const { stdout, stderr, code: exit } = await lockstep(['join', listener.urls[0]!], { cwd });
    await listener.close();
    expect(stderr).toMatch(new RegExp(`^lockstep: ${code}: `));
    expect(stderr).toContain(reason);
    expect(stderr).not.toMatch(/mistake in Lockstep|\n +at /);
    expect(stdout).not.toContain('trying again');
    expect(exit).toBe(2);
  });
});
