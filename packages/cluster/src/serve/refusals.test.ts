import { expect, test } from 'vitest';
import { Refusals } from './refusals.ts';

test('each is counted; of one kind the first is told, and the others together ten seconds later', () => {
  const refusals = new Refusals();
  const told = [0, 1, 9_999, 10_000, 10_001, 30_000].map((now) =>
    refusals.refused('TOKEN_WRONG', `192.0.2.${now % 7}`, now),
  );
  const event = { type: 'refused', code: 'TOKEN_WRONG' };
  expect(told).toEqual([
    { ...event, address: '192.0.2.0', count: 1 },
    undefined,
    undefined,
    { ...event, address: `192.0.2.${10_000 % 7}`, count: 3 },
    undefined,
    { ...event, address: `192.0.2.${30_000 % 7}`, count: 2 },
  ]);
  expect(refusals.refused('HOST_NOT_ALLOWED', '192.0.2.9', 30_001)?.count).toBe(1);
  expect(refusals.counts).toEqual({ TOKEN_WRONG: 6, HOST_NOT_ALLOWED: 1 });
});

test('of connections that stood, those that ended for what came on them', () => {
  const refusals = new Refusals();
  const closed = (code: string, isTheirs?: boolean) =>
    refusals.closed({ code, message: `${code}: why`, ...(isTheirs && { isTheirs }) }, '192.0.2.1:9', 0);
  for (const code of ['LEFT', 'FINISHED', 'RESET', 'CLOSED', 'SILENT', 'STOPPING'])
    expect(closed(code)).toBeUndefined();
  expect(closed('BAD_CHECKSUM', true)).toBeUndefined();
  expect(closed('NOT_FINITE')).toEqual({
    ...{ type: 'refused', code: 'NOT_FINITE', message: 'why', address: '192.0.2.1:9', count: 1 },
  });
  expect(refusals.counts).toEqual({ NOT_FINITE: 1 });
});
