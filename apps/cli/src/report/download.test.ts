import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { data } from 'lockstep';
import { afterEach, expect, it } from 'vitest';
import { downloadLine, showDownloads } from './download.ts';

afterEach(() => data.onDownload(undefined));

it.each([
  [0, '────────────────────────    0 %  0.0 of 26.4 MB'],
  [13_200_000, '████████████────────────   50 %  13.2 of 26.4 MB'],
  [26_400_000, '████████████████████████  100 %  26.4 of 26.4 MB'],
])('%i bytes of a file', (received, bar) => {
  const line = downloadLine({ path: '/cache/images.gz', url: '', received, total: 26_400_000 });
  expect(line).toBe(`images.gz  ${bar}`);
  expect(line.length).toBeLessThan(80);
});

it('a download that nobody else watches leaves a line', async () => {
  const body = Buffer.alloc(100_000, 7);
  const server = createServer((_, response) => response.end(body)).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const folder = await mkdtemp(join(tmpdir(), 'lockstep-download-'));
  try {
    const written: string[] = [];
    const write = (text: string): boolean => written.push(text) > 0;
    showDownloads({ write: write as NodeJS.WriteStream['write'], columns: 80, isTTY: true });
    await data.download({
      urls: [`http://127.0.0.1:${(server.address() as AddressInfo).port}/`],
      path: join(folder, 'file.gz'),
      bytes: body.length,
      sha256: createHash('sha256').update(body).digest('hex'),
    });
    expect(written.join('')).toMatch(/file\.gz {2}█{24} {2}100 % {2}0\.1 of 0\.1 MB\n$/);
  } finally {
    server.close();
    await rm(folder, { recursive: true });
  }
});
