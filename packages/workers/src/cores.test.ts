import { availableParallelism } from 'node:os';
import { expect, test } from 'vitest';
import { cores, cpuQuota } from './cores.ts';

const files = (all: Record<string, string>) => (path: string) => {
  const text = all[path.replaceAll('\\', '/')];
  if (text === undefined) throw new Error(`no ${path}`);
  return text;
};

test.each<[string, Record<string, string>, number]>([
  ['no cgroups', {}, Number.POSITIVE_INFINITY],
  [
    'v2 without a quota',
    { '/proc/self/cgroup': '0::/\n', '/sys/fs/cgroup/cpu.max': 'max 100000\n' },
    Number.POSITIVE_INFINITY,
  ],
  ['v2 in a container', { '/proc/self/cgroup': '0::/\n', '/sys/fs/cgroup/cpu.max': '250000 100000\n' }, 2.5],
  [
    'v2, the tightest of the parents',
    {
      '/proc/self/cgroup': '0::/a/b\n',
      '/sys/fs/cgroup/a/b/cpu.max': 'max 100000\n',
      '/sys/fs/cgroup/a/cpu.max': '300000 100000\n',
    },
    3,
  ],
  [
    'v1',
    {
      '/proc/self/cgroup': '5:memory:/x\n4:cpu,cpuacct:/x\n',
      '/sys/fs/cgroup/cpu/x/cpu.cfs_quota_us': '50000\n',
      '/sys/fs/cgroup/cpu/x/cpu.cfs_period_us': '100000\n',
      '/sys/fs/cgroup/cpu/cpu.cfs_quota_us': '-1\n',
      '/sys/fs/cgroup/cpu/cpu.cfs_period_us': '100000\n',
    },
    0.5,
  ],
])('quota: %s', (_, all, expected) => expect(cpuQuota(files(all))).toBe(expected));

test('cores of this machine', () => {
  expect(cores()).toBeGreaterThanOrEqual(1);
  expect(cores()).toBeLessThanOrEqual(availableParallelism());
});
