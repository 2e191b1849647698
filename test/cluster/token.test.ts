/** How a token gets to a node: nobody else on either machine gets to see it. */
import { spawn } from 'node:child_process';
import { chmodSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { afterAll, afterEach, expect, test } from 'vitest';
import { configText, folderWith, MAIN } from '../command.ts';
import { Cluster } from './processes.ts';

const TOKEN = '0123456789abcdef0123456789abcdef';
const folder = folderWith({
  'run.mjs': configText({ epochs: '60' }),
  token: `${TOKEN}\n`,
  lockstep: `#!/bin/sh\nexec '${process.execPath}' '${MAIN}' "$@"\n`,
});
chmodSync(join(folder, 'lockstep'), 0o700);
const cluster = new Cluster(folder);
afterEach(async () => cluster.end());
afterAll(() => rmSync(folder, { recursive: true }));

/** The words of all processes that this user can see. */
const processWords = (): string =>
  readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((name) => {
      try {
        return readFileSync(join('/proc', name, 'cmdline'), 'latin1');
      } catch {
        return '';
      }
    })
    .join('\n');

test.runIf(process.platform === 'linux')(
  'the command that is printed joins as it stands, and does not show the token to other users',
  async () => {
    const { serving } = await cluster.serve('run.mjs --host 0.0.0.0 --port 0 --workers 0');
    const { command, needsToken } = await serving.seen(({ type }) => type === 'listening');
    expect(needsToken).toBe(false);
    const token = /LOCKSTEP_TOKEN=(\S+)/.exec(String(command))?.[1] ?? '';
    expect(token.length).toBeGreaterThan(40);
    // As typed into a terminal: a shell reads it from its input.
    const shell = spawn('sh', [], {
      cwd: folder,
      env: { ...process.env, PATH: `${folder}${delimiter}${process.env.PATH}` },
      stdio: ['pipe', 'ignore', 'inherit'],
    });
    const ended = new Promise<number | null>((resolve) => shell.once('close', resolve));
    shell.stdin.end(`${command} --workers 1 --cache cache --quiet\n`);
    await serving.seen(({ type }) => type === 'step');
    const words = processWords();
    expect(words).toContain(`join\0ws://`);
    expect(words).not.toContain(token);
    expect(await ended).toBe(0);
    await serving.done();
  },
);

test('a file on both ends; what is printed does not repeat the token', async () => {
  const { serving, url } = await cluster.serve('run.mjs --port 0 --workers 0 --token-file token');
  const { command, needsToken } = await serving.seen(({ type }) => type === 'listening');
  expect(command).toBe(`lockstep join ${url} --token-file FILE`);
  expect(needsToken).toBe(true);
  const node = cluster.join(url, '--workers 1 --token-file token');
  const digest = (await serving.done()).weightsDigest;
  expect(await node.done()).toMatchObject({ reason: 'finished', digest });
  const { stdout, stderr } = await serving.outcome;
  expect(stdout + stderr).not.toContain(TOKEN);
});

test('the variable of the environment on both ends', async () => {
  const env = { LOCKSTEP_TOKEN: TOKEN };
  const { serving, url } = await cluster.serve('run.mjs --port 0 --workers 0', env);
  const without = await cluster.join(url).outcome;
  expect(without).toMatchObject({ code: 2, stderr: expect.stringMatching(/TOKEN_REQUIRED/) });
  const node = cluster.join(url, '--workers 1', env);
  await serving.done();
  await node.done();
});
