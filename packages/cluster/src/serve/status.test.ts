import type { IncomingMessage, ServerResponse } from 'node:http';
import { expect, test } from 'vitest';
import { RunStatus } from './status.ts';

/** What is answered to a request from an address. */
const ask = (url: string, remoteAddress: string | undefined) => {
  const status = new RunStatus({
    minNodes: 1,
    workers: () => 2,
    heldBytes: () => 0,
    refusals: () => ({ TOKEN_WRONG: 3 }),
  });
  const answer = { code: 0, body: '' };
  const request = { url, method: 'GET', socket: { remoteAddress } } as IncomingMessage;
  const response = {
    req: request,
    writeHead: (code: number) => {
      answer.code = code;
    },
    end: (body: string) => {
      answer.body = body;
    },
  } as unknown as ServerResponse;
  status.answer(request, response);
  return answer;
};

const here = ['127.0.0.1', '127.8.8.8', '::1', '::ffff:127.0.0.1'];
const elsewhere = ['192.0.2.1', '::ffff:192.0.2.1', '2001:db8::1', '0.0.0.0', '', undefined];

test.each(here)('metrics are for %s', (address) => {
  expect(ask('/metrics', address)).toMatchObject({
    code: 200,
    body: expect.stringContaining('lockstep_refused_connections_total{code="TOKEN_WRONG"} 3'),
  });
});

test.each(elsewhere)('metrics are not for %s: it is told where to ask', (address) => {
  const { code, body } = ask('/metrics', address);
  expect(code).toBe(403);
  expect(body).toMatch(/127\.0\.0\.1.*proxy/);
  expect(body).not.toContain('lockstep_');
});

test.each([
  ...here.map((address) => [address, { status: 'waiting for nodes', step: 0, nodes: 0 }]),
  ...elsewhere.map((address) => [address, { status: 'waiting for nodes' }]),
])('health, asked from %s: %j', (address, expected) => {
  const { code, body } = ask('/healthz', address as string | undefined);
  expect(code).toBe(200);
  expect(JSON.parse(body)).toEqual(expected);
});
