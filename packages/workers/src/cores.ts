import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';

/** Cores that this process may use: the CPU affinity and, in a container, the CPU quota of its group. At least 1. */
export const cores = (): number => Math.max(1, Math.min(availableParallelism(), Math.floor(cpuQuota())));

/** Cores by the tightest quota of cgroup v2 or v1 over this process; Infinity where there is none. */
export const cpuQuota = (read: (path: string) => string = (path) => readFileSync(path, 'utf8')): number => {
  const attempt = (path: string): string | undefined => {
    try {
      return read(path);
    } catch {
      return undefined; // Not Linux, no cgroup of that kind, or not for us to read.
    }
  };
  const groups = (attempt('/proc/self/cgroup') ?? '').split('\n').map((line) => line.split(':'));
  const ratio = (quota: number, period: number): number =>
    quota > 0 && period > 0 ? quota / period : Number.POSITIVE_INFINITY;
  let least = Number.POSITIVE_INFINITY;
  for (const [id, controllers = '', path = '/'] of groups) {
    const isV2 = id === '0' && controllers === '';
    if (!isV2 && !controllers.split(',').includes('cpu')) continue;
    for (const group of withParents(path)) {
      if (isV2) {
        const [quota, period] = (attempt(join('/sys/fs/cgroup', group, 'cpu.max')) ?? 'max').split(' ');
        least = Math.min(least, ratio(Number(quota), Number(period)));
      } else {
        const file = (name: string): number => Number(attempt(join('/sys/fs/cgroup/cpu', group, name)) ?? -1);
        least = Math.min(least, ratio(file('cpu.cfs_quota_us'), file('cpu.cfs_period_us')));
      }
    }
  }
  return least;
};

const withParents = (path: string): string[] => {
  const parts = path.split('/').filter((part) => part !== '' && part !== '..');
  return Array.from({ length: parts.length + 1 }, (_, n) => `/${parts.slice(0, n).join('/')}`);
};
