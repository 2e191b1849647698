/** Where everything of a local run lies in shared memory: data, weights, state, and each unit's own results. */
import type { Column, Dataset } from '@lockstep/data';
import { ELEMENT_BYTES } from '@lockstep/kernels';
import { RECORD, RESULT, type SharedHeap } from '@lockstep/workers';
import type { ResolvedDefinition } from '../define/definition.ts';
import { type FlatLayout, gather, gatherBuffers, joined, NORM_BLOCK } from '../define/layout.ts';
import { countSums } from '../step/metrics.ts';
import { LINE_WORDS } from '../step/programs.ts';

/** Addresses of a unit's own memory. */
interface UnitSlot {
  readonly gradient: number;
  readonly sums: number;
  readonly statistics: number;
}

export interface MemoryOptions<M, F extends string> {
  readonly definition: ResolvedDefinition<M, F>;
  readonly layout: FlatLayout;
  readonly data: Dataset<F>;
  /** Training batches are computed elsewhere: their data are not needed. */
  readonly external?: object | undefined;
}

/** Puts the columns of a part of a data set into memory, each in a region `data NAME`. Gives their addresses. */
export const placeColumns = (heap: SharedHeap, part: Dataset): Record<string, number> =>
  Object.fromEntries(
    Object.entries<Column>(part.columns).map(([name, { data }]) => {
      const address = heap.allocate(data.byteLength);
      const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
      heap.u8(address, data.byteLength).set(bytes);
      return [`data ${name}`, address];
    }),
  );

export class RunMemory<M, F extends string> {
  /** Loss and metrics. */
  readonly values: number;
  readonly trainRows: number;
  /** Two orders of the training rows, then the validation rows. */
  readonly index: Int32Array;
  readonly weights: Float32Array;
  /** What outlives a step, by region: what a checkpoint holds. */
  readonly state: ReadonlyMap<string, Float32Array>;
  /** Addresses by region, of what all programs have in common. */
  readonly common: Readonly<Record<string, number>>;
  /** Where the columns of the validation part are. */
  readonly validationData: Readonly<Record<string, number>>;
  readonly journals: number;
  /** Words from one unit's sums to the next. */
  readonly sumsStride: number;
  readonly #options: MemoryOptions<M, F>;
  readonly #heap: SharedHeap;
  readonly #buffers: Float32Array;
  readonly #unitSlots: UnitSlot[] = [];
  /** Per worker: the journal of the total, then those of its slice's measures and of its pieces. Then those of the buffers. */
  readonly #journalWords: Int32Array;
  readonly #halt: Int32Array;

  constructor(options: MemoryOptions<M, F>, heap: SharedHeap, journals: number) {
    const { definition, layout, data } = options;
    const { optimizer } = definition;
    this.#options = options;
    this.#heap = heap;
    this.journals = journals;
    this.values = countSums(definition.metrics);
    this.trainRows = data.length;
    this.sumsStride = Math.ceil(this.values / LINE_WORDS) * LINE_WORDS;
    const validationRows = data.validation?.length ?? 0;
    const indexes = 2 * data.length + validationRows;
    this.validationData = data.validation ? placeColumns(heap, data.validation) : {};
    const vector = (size = layout.trainedSize): number => heap.allocate(size * ELEMENT_BYTES);
    const squares = (): number => heap.allocate(Math.ceil(layout.trainedSize / NORM_BLOCK) * ELEMENT_BYTES);
    const slotSize = (slot: string): number =>
      slot === optimizer.average ? layout.size : layout.trainedSize;
    this.common = {
      record: RECORD,
      result: RESULT,
      halt: heap.allocate(ELEMENT_BYTES),
      journals: heap.allocate(journals * LINE_WORDS * ELEMENT_BYTES),
      'all sums': heap.allocate(definition.shards * this.sumsStride * ELEMENT_BYTES),
      weights: vector(layout.size),
      buffers: vector(layout.bufferSize),
      index: heap.allocate(indexes * ELEMENT_BYTES),
      squares: squares(),
      ...Object.fromEntries(optimizer.slots.map((slot) => [`slot ${slot}`, vector(slotSize(slot))])),
      ...(options.external ? {} : placeColumns(heap, data)),
      ...(this.#needsTotal ? { total: vector() } : {}),
      ...(optimizer.groups.some(({ layer }) => layer)
        ? { measured: vector(), 'weight squares': squares(), 'measured squares': squares() }
        : {}),
    };
    this.#journalWords = heap.i32(this.common.journals!, journals * LINE_WORDS);
    this.#halt = heap.i32(this.common.halt!, 1);
    this.weights = heap.f32(this.common.weights!, layout.size);
    gather(layout, this.weights);
    const buffers = heap.f32(this.common.buffers!, layout.bufferSize);
    buffers.set(gatherBuffers(layout));
    this.#buffers = buffers;
    this.state = new Map([
      ['weights', this.weights],
      ...(layout.bufferSize > 0 ? [['buffers', buffers] as const] : []),
      ...optimizer.slots.map((slot) => {
        const name = `slot ${slot}`;
        return [name, heap.f32(this.common[name]!, slotSize(slot))] as const;
      }),
    ] as const);
    this.kept.set(this.weights);
    this.index = heap.i32(this.common.index!, indexes);
    for (let row = 0; row < validationRows; row++) this.index[2 * data.length + row] = row;
  }

  get buffers(): Float32Array {
    return this.#buffers;
  }

  /** The weights that validation takes and that are kept: their average, where there is one. */
  get kept(): Float32Array {
    const { average } = this.#options.definition.optimizer;
    return average === undefined ? this.weights : this.state.get(`slot ${average}`)!;
  }

  get keptAddress(): number {
    const { average } = this.#options.definition.optimizer;
    return this.common[average === undefined ? 'weights' : `slot ${average}`]!;
  }

  /** The kept weights, then the buffers. */
  get model(): Float32Array {
    return joined(this.kept, this.#buffers);
  }

  set model(all: Float32Array) {
    const weights = all.subarray(0, this.weights.length);
    this.weights.set(weights);
    this.kept.set(weights);
    this.#buffers.set(all.subarray(weights.length));
  }

  get #needsTotal(): boolean {
    const { accumulate, optimizer } = this.#options.definition;
    return accumulate > 1 || optimizer.clipNorm !== undefined;
  }

  /** The tick whose update did not go through, because a number was not finite; 0: none. Later ticks did nothing. */
  refusedTick(lastTick: number): number {
    const halt = Atomics.load(this.#halt, 0);
    if (halt !== 0) return halt;
    const words = this.#journalWords;
    // Not yet seen by a guard: the last tick.
    for (let i = 2; i < words.length; i += LINE_WORDS) if (words[i] !== 0) return lastTick;
    return 0;
  }

  /** Forgets that an update was refused: the state is another one. */
  pardon(): void {
    Atomics.store(this.#halt, 0, 0);
    for (let i = 2; i < this.#journalWords.length; i += LINE_WORDS) this.#journalWords[i] = 0;
  }

  /** The memory of the first unit. */
  get given() {
    const { sums, statistics, gradient } = this.slot(0);
    const { trainedSize, bufferSize } = this.#options.layout;
    return {
      sums: this.#heap.f32(sums, this.values),
      statistics: this.#heap.f32(statistics, bufferSize),
      gradient: this.#heap.f32(gradient, trainedSize),
    };
  }

  /** Where the unit at `index` in the order of shards puts its results. */
  slot(index: number): UnitSlot {
    const { trainedSize, bufferSize } = this.#options.layout;
    this.#unitSlots[index] ??= {
      gradient: this.#heap.allocate(trainedSize * ELEMENT_BYTES),
      statistics: this.#heap.allocate(bufferSize * ELEMENT_BYTES),
      sums: this.common['all sums']! + index * this.sumsStride * ELEMENT_BYTES,
    };
    return this.#unitSlots[index];
  }
}
