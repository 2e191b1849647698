/** Two processes on one folder: the second is refused, the first never notices; after `kill -9` nothing is in the way. */
import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, expect, test } from 'vitest';
import { Cluster, type Told } from '../cluster/processes.ts';
import { configText, folderWith, lockstep } from '../command.ts';

const folder = folderWith({ 'run.mjs': configText({ epochs: '100000' }) });
afterAll(() => rmSync(folder, { recursive: true }));

const cluster = new Cluster(folder);
afterEach(() => cluster.end());

const isCheckpoint = ({ type }: Told): boolean => type === 'checkpoint';
const commands = {
  train: 'train run.mjs --quiet --workers 1 --checkpoint-every 50',
  serve: 'serve run.mjs --quiet --port 0 --workers 1 --checkpoint-every 50',
};

test.each([
  ['train', 'train'],
  ['train', 'serve'],
  ['serve', 'train'],
  ['serve', 'serve'],
] as const)('%s has it, %s is refused', async (first, second) => {
  const out = `${first}-${second}`;
  const running = cluster.start(`${commands[first]} --out ${out}`);
  await running.seen(isCheckpoint);
  for (const more of ['', ' --resume']) {
    const { code, stdout, stderr } = await lockstep(`${commands[second]} --out ${out}${more}`.split(' '), {
      cwd: folder,
    });
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    const { pid } = JSON.parse(readFileSync(join(folder, out, 'lock'), 'utf8')) as { pid: number };
    expect(stderr).toBe(
      `lockstep: out: process ${pid} is writing to ${join(folder, out)}; wait for it, end it, or give another folder\n`,
    );
  }
  running.kill('SIGINT');
  expect(await running.done(130)).toMatchObject({ interrupted: true });
  expect(readdirSync(join(folder, out))).not.toContain('lock');
});

test.each(['train', 'serve'] as const)('%s goes on at once after kill -9', async (command) => {
  const words = `${commands[command]} --out killed-${command} --resume`;
  const killed = cluster.start(words);
  await killed.seen(isCheckpoint);
  killed.kill();
  await killed.outcome;
  expect(readdirSync(join(folder, `killed-${command}`))).toContain('lock');
  const next = cluster.start(words);
  const start = await next.seen(({ type }) => type === 'start');
  expect(start).toMatchObject({ resumed: { step: expect.any(Number) } });
});
