/** The programs of a run: each is traced and compiled once, whichever plans have it. */
import type { Dataset } from '@lockstep/data';
import type { Program } from '@lockstep/kernels';
import type { PoolProgram, SharedHeap } from '@lockstep/workers';
import type { ResolvedDefinition } from '../define/definition.ts';
import type { FlatLayout } from '../define/layout.ts';
import { checkIndexes } from '../step/checkIndexes.ts';
import { compileUnit, refusalGuard } from '../step/programs.ts';
import { type StepGraph, traceStep } from '../step/trace.ts';
import type { RunMemory } from './memory.ts';

export interface ProgramBookOptions<M, F extends string> {
  readonly definition: ResolvedDefinition<M, F>;
  readonly model: M;
  readonly layout: FlatLayout;
  readonly data: Dataset<F>;
  readonly heap: SharedHeap;
  readonly memory: RunMemory<M, F>;
  /** Of a record: where its tick lies. */
  readonly tickOffset: number;
}

export class ProgramBook<M, F extends string> {
  readonly programs: PoolProgram[] = [];
  /** By program: where its constants lie, if it has some. */
  readonly constants = new Map<number, number>();
  readonly #options: ProgramBookOptions<M, F>;
  readonly #index = new Map<string, number>();
  readonly #traces = new Map<string, StepGraph>();

  constructor(options: ProgramBookOptions<M, F>) {
    this.#options = options;
  }

  /** A shard's step, forward and backward, or forward alone. */
  trace(rows: number, training: boolean): StepGraph {
    const { definition, model, layout, data } = this.#options;
    const key = `${rows} ${training}`;
    const known = this.#traces.get(key);
    if (known) return known;
    const traced = traceStep(definition, model, layout, data, rows, training);
    this.#traces.set(key, traced);
    return traced;
  }

  /** The index of the program of so many shards. */
  unit(rows: number, segments: number, training: boolean): number {
    const name = `${training ? 'train' : 'validate'} ${segments} × ${rows} rows`;
    return this.program(name, () => {
      const step = this.trace(rows, training);
      const { data, layout, heap, memory, tickOffset } = this.#options;
      const part = training ? data : data.validation!;
      const guard = training ? refusalGuard(tickOffset, memory.journals) : undefined;
      const indexes = memory.index.length;
      const compiled = compileUnit(step, layout, { part, indexes }, rows, segments, guard);
      checkIndexes(compiled.indexLimits, data);
      const address = heap.allocate(compiled.constants.byteLength);
      heap.u8(address, compiled.constants.byteLength).set(compiled.constants);
      this.constants.set(this.programs.length, address);
      return compiled.program;
    });
  }

  /** The index of a program, which is made unless there is one of this name. */
  program(name: string, make: () => Program): number {
    const known = this.#index.get(name);
    if (known !== undefined) return known;
    const program = make();
    this.#index.set(name, this.programs.length);
    return this.programs.push({ name, program }) - 1;
  }
}
