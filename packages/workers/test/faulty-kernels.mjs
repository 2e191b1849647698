/**
 * Kernels with faults, for tests of the pool: programs whose first word is one of FAULTS do harm instead of work, the
 * rest runs as ever. Region 0 of such a program holds [times done, times to do]. With `?boot=…&once=FILE` in the URL the
 * thread that makes FILE does not come up.
 */
import { existsSync, writeFileSync } from 'node:fs';
import { loadKernels as loadReal } from '@lockstep/kernels';

const FAULTS = { exit: 0x7fff0000, throw: 0x7fff0001, hang: 0x7fff0002 };

const { searchParams } = new URL(import.meta.url);
const once = searchParams.get('once');
if (once !== null && !existsSync(once)) {
  writeFileSync(once, 'was here');
  const boot = searchParams.get('boot');
  if (boot === 'exit') process.exit(4);
  if (boot === 'throw') {
    setTimeout(() => {
      throw new Error('an error that nobody catches');
    });
  }
  // 'throw' and 'hang'
  await new Promise((resolve) => setTimeout(resolve, 2 ** 30));
}

/** @type {typeof loadReal} */
export const loadKernels = (options) => {
  const kernels = loadReal(options);
  const words = new Int32Array(options.memory.buffer);
  return {
    ...kernels,
    run(code, from, to, bases) {
      const fault = words[code >>> 2];
      if (fault === undefined || fault < FAULTS.exit) {
        return kernels.run(code, from, to, bases);
      }
      const counts = words.subarray((words[bases >>> 2] ?? 0) >>> 2);
      if ((counts[0] ?? 0) >= (counts[1] ?? 0)) return true;
      counts[0] = (counts[0] ?? 0) + 1;
      if (fault === FAULTS.exit) process.exit(3);
      if (fault === FAULTS.throw) throw new Error('a kernel that fails');
      for (;;);
    },
  };
};
