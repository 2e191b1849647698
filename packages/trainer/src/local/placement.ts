/** Gives programs their memory: plans whose regions are bound to addresses. */
import type { Plan, PoolProgram, PoolTask, SharedHeap } from '@lockstep/workers';

/** A program before memory is placed: region names still have to be bound. */
export interface PendingTask {
  readonly program: number;
  readonly bind: Readonly<Record<string, number>>;
  readonly worker: number;
}

export interface PendingPlan {
  readonly name: string;
  readonly phases: readonly (readonly PendingTask[])[];
}

export interface PlacementOptions {
  readonly heap: SharedHeap;
  readonly workers: number;
  readonly programs: readonly PoolProgram[];
  /** Where the constants of programs lie that have some. */
  readonly constants: ReadonlyMap<number, number>;
  /** Addresses of regions that all programs share. */
  readonly common: Readonly<Record<string, number>>;
}

/** Gives every worker its own arena and scratch, and binds all regions. */
export class Placement {
  readonly #options: PlacementOptions;
  /** By worker. */
  readonly #own: readonly Readonly<Record<string, number>>[];

  constructor(options: PlacementOptions) {
    const { heap, workers, programs } = options;
    const largest = (name: string): number =>
      Math.max(
        0,
        ...programs.map(({ program }) => program.regions.find((region) => region.name === name)?.bytes ?? 0),
      );
    this.#options = options;
    this.#own = Array.from({ length: workers }, () => ({
      arena: heap.allocate(largest('arena')),
      scratch: heap.allocate(largest('scratch')),
      'journal scratch': heap.allocate(largest('journal scratch')),
    }));
  }

  /** A plan of all workers, each with its own tasks. */
  pooled({ name, phases }: PendingPlan): Plan {
    const { workers } = this.#options;
    const byWorker = phases.map((tasks) =>
      Array.from({ length: workers }, (_, worker) =>
        tasks.filter((task) => task.worker === worker).map((task) => this.#bound(task)),
      ),
    );
    return { name, phases: byWorker };
  }

  /** A plan of one thread, which runs all tasks. */
  direct({ name, phases }: PendingPlan): Plan {
    return { name, phases: phases.map((tasks) => [tasks.map((task) => this.#bound(task))]) };
  }

  #bound({ program, bind, worker }: PendingTask): PoolTask {
    const { programs, constants, common } = this.#options;
    const own = constants.get(program);
    const addresses: Record<string, number> = {
      ...common,
      ...this.#own[worker],
      ...(own === undefined ? {} : { constants: own }),
      ...bind,
    };
    const { name, program: found } = programs[program]!;
    const bases = found.regions.map((region) => {
      const address = addresses[region.name];
      // A region that is declared but never touched may lie anywhere.
      if (address === undefined && region.bytes > 0)
        throw new Error(`${name}: no memory for region ${region.name}`);
      return address ?? common.weights!;
    });
    return { program, bases };
  }
}
