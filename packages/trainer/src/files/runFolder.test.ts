import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeEach, describe, expect, test } from 'vitest';
import { RunFolder } from './runFolder.ts';

const root = mkdtempSync(join(tmpdir(), 'lockstep-folder-'));
afterAll(() => rmSync(root, { recursive: true }));
let count = 0;
let path = '';
beforeEach(() => {
  path = join(root, `run ${count++}`);
});

const lock = () => join(path, 'lock');
const leave = (owner: object | string): void => {
  mkdirSync(path);
  writeFileSync(lock(), typeof owner === 'string' ? owner : JSON.stringify(owner));
};
/** The number of a process that is gone. */
const gone = (): number => spawnSync(process.execPath, ['--version']).pid;

test('is made, locked and, when nothing is in it, removed with what was made above it', () => {
  path = join(path, 'deep', 'er');
  const folder = new RunFolder(path);
  expect(JSON.parse(readFileSync(lock(), 'utf8'))).toMatchObject({ pid: process.pid, host: hostname() });
  folder.close();
  expect(readdirSync(root)).not.toContain(`run ${count - 1}`);
});

test('stays with what is in it', () => {
  const folder = new RunFolder(path);
  writeFileSync(join(path, 'weights'), '');
  folder.close();
  expect(readdirSync(path)).toEqual(['weights']);
});

describe('is refused while somebody has it', () => {
  test('a run of the same process, and nothing is changed', () => {
    const folder = new RunFolder(path);
    expect(() => new RunFolder(path)).toThrow(`out: another run of this process is writing to ${path}`);
    expect(readdirSync(path)).toEqual(['lock']);
    folder.close();
    new RunFolder(path).close();
  });

  test.each([
    [
      'another process',
      () => ({ pid: process.ppid, host: hostname(), since: '' }),
      `process ${process.ppid} is writing`,
    ],
    [
      'a process of another machine',
      () => ({ pid: 1, host: 'elsewhere', since: 'x' }),
      'if it is gone, remove',
    ],
    ['a process that has not written yet who it is', () => '', 'another process is writing'],
  ])('%s', (_, owner, message) => {
    leave(owner());
    expect(() => new RunFolder(path)).toThrow(message);
    expect(() => new RunFolder(path)).toThrow(expect.objectContaining({ code: 'LOCKSTEP_CONFIG' }));
    expect(readdirSync(path)).toEqual(['lock']);
  });
});

describe('is taken over from', () => {
  test.each<[string, () => object | string]>([
    ['a process that is gone', () => ({ pid: gone(), host: hostname(), since: 'boot 1' })],
    [
      'an earlier process of the same number',
      () => ({ pid: process.pid, host: hostname(), since: 'boot 1' }),
    ],
  ])('%s', (_, owner) => {
    leave(owner());
    const folder = new RunFolder(path);
    expect(JSON.parse(readFileSync(lock(), 'utf8'))).toMatchObject({ pid: process.pid });
    expect(readdirSync(path)).toEqual(['lock']);
    folder.close();
    expect(readdirSync(path)).toEqual([]);
  });

  test('one that died before it wrote who it is', () => {
    leave('{"pid":');
    utimesSync(lock(), 1, 1);
    new RunFolder(path).close();
    expect(existsSync(lock())).toBe(false);
  });

  // Whoever started it may never ask how it ended: some containers' first process does not.
  test.runIf(process.platform === 'linux')('one that was killed and is not buried', async () => {
    const script = 'sleep 1000 & echo $!; exec sleep 1000';
    const parent = spawn('sh', ['-c', script], { stdio: ['ignore', 'pipe', 'ignore'] });
    const [text] = (await once(parent.stdout, 'data')) as [Buffer];
    const pid = Number(text);
    const tick = () => new Promise((done) => setTimeout(done, 1));
    // Until then the shell would bury it.
    while (readFileSync(`/proc/${parent.pid}/comm`, 'utf8') !== 'sleep\n') await tick();
    const { since } = describeOf(pid);
    leave({ pid, host: hostname(), since });
    expect(() => new RunFolder(path)).toThrow(`process ${pid} is writing`);
    process.kill(pid, 'SIGKILL');
    while (!/\) Z/.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))) await tick();
    new RunFolder(path).close();
    parent.kill('SIGKILL');
    await once(parent, 'close');
  });
});

/** As the lock would say it. */
function describeOf(pid: number): { since: string } {
  const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
    .replace(/^.*\) /, '')
    .split(' ');
  return { since: `${boot} ${fields[19]}` };
}
