/** What it costs that workers are several: waiting for each other, and reading what another core has just written. */
import { type KernelVariant, ProgramBuilder } from '@lockstep/kernels';
import { SharedHeap, WorkerPool } from '@lockstep/workers';

const ROUNDS = 5;
/** Of each plan in a round (ms). */
const PATIENCE = 20;
const PHASES = 8;

export interface ThreadCosts {
  /** From all workers' last word in a phase to their first in the next (ms). */
  readonly barrier: number;
  /** Reading so many floats that another worker has just written, beyond reading one's own (ms). */
  readonly transfer: number;
}

/** At least two workers. */
export async function threadCosts(
  workers: number,
  kernels: KernelVariant,
  floats: number,
): Promise<ThreadCosts> {
  const heap = new SharedHeap();
  const builder = new ProgramBuilder();
  const [out, from] = (['write', 'read'] as const).map((access) => ({
    region: builder.addRegion(access, access),
    offset: 0,
  }));
  builder.call('treeSum', { out: out!, in: from!, segments: 1, n: floats });
  const [source, own, copy] = Array.from({ length: 3 }, () =>
    Array.from({ length: workers }, () => heap.allocate(4 * floats)),
  ) as [number[], number[], number[]];
  const all = <T>(make: (worker: number) => T): T[] => Array.from({ length: workers }, (_, i) => make(i));
  const idle = all(() => []);
  const task = (to: number, input: number) => [{ program: 0, bases: [to, input] }];
  const write = all((i) => task(own[i]!, source[i]!));
  const plans = [
    { name: 'one phase', phases: [idle] },
    { name: 'phases', phases: Array.from({ length: PHASES }, () => idle) },
    { name: 'own', phases: [write, all((i) => task(copy[i]!, own[i]!))] },
    { name: 'of others', phases: [write, all((i) => task(copy[i]!, own[(i + 1) % workers]!))] },
  ];
  const pool = new WorkerPool({
    ...{ heap, workers, kernels, recordWords: 1, resultWords: 1 },
    programs: [{ name: 'copy', program: builder.build() }],
    plans,
  });
  await pool.start();
  try {
    const rounds = plans.map((): number[] => []);
    for (let round = -1; round < ROUNDS; round++) {
      for (const [plan, times] of rounds.entries()) {
        const time = await tickTime(pool, plan);
        if (round >= 0) times.push(time);
      }
    }
    // What else runs can only make them longer.
    const [one, many, mine, others] = rounds.map((times) => Math.min(...times)) as [
      number,
      number,
      number,
      number,
    ];
    return {
      barrier: Math.max(0, many - one) / (PHASES - 1),
      transfer: Math.max(0, others - mine),
    };
  } finally {
    await pool.close();
  }
}

/** Ticks are submitted ahead, as the trainer does it. */
async function tickTime(pool: WorkerPool, plan: number): Promise<number> {
  const first = pool.submitted;
  const began = performance.now();
  while (performance.now() < began + PATIENCE) {
    while (pool.capacity > 0) pool.submit(plan, () => {});
    await pool.wait(Math.max(0, pool.submitted - pool.ring / 2));
  }
  await pool.wait(pool.submitted);
  return (performance.now() - began) / (pool.submitted - first);
}
