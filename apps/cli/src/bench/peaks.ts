/** The most arithmetic that so many threads of this machine do at once, measured like a training step: by the pool. */
import type { KernelVariant, Program } from '@lockstep/kernels';
import { SharedHeap, WorkerPool } from '@lockstep/workers';
import { SIDE, squareProduct } from '../common/measure.ts';

/** Threads that multiply square matrices, each its own. */
export class PeakMeter {
  readonly #pool: WorkerPool;

  static async start(workers: number, kernels: KernelVariant): Promise<PeakMeter> {
    const meter = new PeakMeter(workers, kernels, squareProduct());
    await meter.#pool.start();
    return meter;
  }

  private constructor(workers: number, kernels: KernelVariant, program: Program) {
    const heap = new SharedHeap();
    const tasks = Array.from({ length: workers }, () => {
      const bases = program.regions.map(({ bytes }) => heap.allocate(bytes));
      // Not zeros: some CPUs are faster on them.
      for (const [i, base] of bases.entries()) heap.f32(base, program.regions[i]!.bytes / 4).fill(1.5);
      return [{ program: 0, bases }];
    });
    this.#pool = new WorkerPool({
      ...{ heap, workers, kernels, recordWords: 0, resultWords: 0, measure: true },
      programs: [{ name: 'product', program }],
      plans: [{ name: 'product', phases: [tasks] }],
    });
  }

  /** GFLOP/s of all threads together: their fastest product within so many milliseconds. */
  async measure(milliseconds: number): Promise<number> {
    const pool = this.#pool;
    const end = performance.now() + milliseconds;
    let best = Number.POSITIVE_INFINITY;
    do {
      const first = pool.submitted + 1;
      while (pool.submitted < first + 3) pool.submit(0, () => {});
      await pool.wait(pool.submitted);
      for (let tick = first; tick <= pool.submitted; tick++) {
        // Moments: record, turn, end.
        const moments = Array.from({ length: pool.workers }, (_, worker) => pool.moments(tick, worker));
        const began = Math.min(...moments.map((own) => own[1]!));
        best = Math.min(best, Math.max(...moments.map((own) => own[2]!)) - began);
      }
    } while (performance.now() < end);
    return (pool.workers * 2 * SIDE ** 3) / best / 1e6;
  }

  close(): Promise<void> {
    return this.#pool.close();
  }
}
