import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { expectProblem, filesIn, temporaryFolder } from '../../test/support.ts';
import { cacheFolder, type DownloadProgress, download } from './download.ts';
import { mnist } from './mnist.ts';

const content = Buffer.alloc(200_000, 'lockstep ');
const sha256 = createHash('sha256').update(content).digest('hex');

/** What the server does by path. */
const answers: Record<string, RequestListener> = {
  '/good': (_, response) => response.end(content),
  '/missing': (_, response) => response.writeHead(404).end('no'),
  '/corrupt': (_, response) => response.end(Buffer.alloc(content.length, 'Lockstep ')),
  '/short': (_, response) => response.end(content.subarray(0, 1000)),
  '/long': (_, response) => response.end(Buffer.concat([content, content])),
  '/cut': (_, response) => {
    response.writeHead(200, { 'content-length': content.length });
    response.write(content.subarray(0, 1000), () => response.destroy());
  },
  '/stuck': (_, response) => {
    response.writeHead(200, { 'content-length': content.length });
    response.write(content.subarray(0, 1000));
  },
};
const asked: string[] = [];
const server = createServer((request, response) => {
  asked.push(request.url!);
  (answers[request.url!] ?? answers['/missing']!)(request, response);
});
let base = '';
beforeAll(async () => {
  await new Promise<void>((done) => {
    server.listen(0, '127.0.0.1', done);
  });
  base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
});

const folder = temporaryFolder();
const to = (path: string, urls: readonly string[], more: object = {}) =>
  download({ urls: urls.map((url) => base + url), path, bytes: content.length, sha256, ...more });
const failure = (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => undefined,
    (error: unknown) => error,
  );

describe('download', () => {
  it('fetches a file whole and tells how far it is', async () => {
    const path = join(folder, 'new', 'good');
    const seen: DownloadProgress[] = [];
    await to(path, ['/good'], { onProgress: (progress: DownloadProgress) => seen.push(progress) });
    expect(readFileSync(path)).toEqual(content);
    expect(filesIn(join(folder, 'new'))).toEqual(['good']);
    expect(seen.at(-1)).toEqual({
      path,
      url: `${base}/good`,
      received: content.length,
      total: content.length,
    });
  });

  it('goes on to the next mirror', async () => {
    asked.length = 0;
    const path = join(folder, 'second');
    await to(path, ['/missing', '/corrupt', '/good', '/never']);
    expect(asked).toEqual(['/missing', '/corrupt', '/good']);
    expect(readFileSync(path)).toEqual(content);
  });

  it.each([
    ['/missing', 'HTTP status 404'],
    ['/corrupt', `expected ${sha256}`],
    ['/short', 'only 1000 of 200000 bytes'],
    ['/long', 'more than the expected 200000 bytes'],
    ['/cut', 'terminated'],
    ['/stuck', 'no data for 200 ms'],
  ])('leaves nothing behind after %s', async (url, text) => {
    const path = join(folder, 'never');
    expectProblem(
      await failure(to(path, [url], { idleTimeout: 200 })),
      'DATA_DOWNLOAD',
      path,
      `${base}${url}: `,
      text,
      'Check the connection',
    );
    expect(filesIn(folder).filter((name) => name.startsWith('never'))).toEqual([]);
  });

  it('says why nobody answers', async () => {
    const error = await failure(
      download({ urls: ['http://127.0.0.1:1/x'], path: join(folder, 'never'), bytes: 1, sha256 }),
    );
    expectProblem(error, 'DATA_DOWNLOAD', 'http://127.0.0.1:1/x: ', 'fetch failed (');
  });

  it('stops at a signal, with its reason and without a trace', async () => {
    const stop = new AbortController();
    const reason = new Error('enough');
    const onProgress = (): void => stop.abort(reason);
    const error = await failure(
      to(join(folder, 'never'), ['/stuck', '/good'], { onProgress, signal: stop.signal }),
    );
    expect(error).toBe(reason);
    expect(filesIn(folder).filter((name) => name.startsWith('never'))).toEqual([]);
  });
});

describe('mnist by download', () => {
  it('asks for the usual names and refuses other bytes than the known ones', async () => {
    answers['/mirror/train-images-idx3-ubyte.gz'] = answers['/good']!;
    const dir = join(folder, 'mnist');
    const error = await failure(mnist({ dir, download: true, mirrors: [`${base}/mirror/`] }));
    expectProblem(error, 'DATA_DOWNLOAD', 'train-images-idx3-ubyte.gz', 'only 200000 of 9912422 bytes');
    expect(filesIn(dir)).toEqual([]);
  });
});

describe('cacheFolder', () => {
  it.each([
    [{ LOCKSTEP_CACHE: '/a', XDG_CACHE_HOME: '/b' }, /^\/a$/],
    [{ XDG_CACHE_HOME: '/b' }, /^\/b.lockstep$/],
    [{}, /.\.cache.lockstep$/],
  ])('with %j', (env, expected) => expect(cacheFolder(env)).toMatch(expected));
});
