/** All parameters in one vector: the order and the gaps are fixed by the model, so that slices can be owned by anyone. */
import type { BufferRule, Parameter, StateBuffer } from '@lockstep/autograd';
import { ALIGNMENT, ELEMENT_BYTES } from '@lockstep/kernels';
import { ConfigError, NORM_BLOCK, type Optimizer } from '@lockstep/nn';

export interface FlatEntry {
  readonly name: string;
  readonly parameter: Parameter;
  /** First element in the vector. */
  readonly offset: number;
  readonly size: number;
}

/** A buffer's place in the vector of all buffers. */
export interface BufferEntry {
  readonly name: string;
  readonly buffer: StateBuffer;
  readonly offset: number;
  readonly size: number;
}

/** A stretch of the vector: elements from `from` to `to` (excluded). */
export interface Stretch {
  readonly from: number;
  readonly to: number;
}

export interface FlatLayout {
  /** Group by group of the optimizer, then what is frozen; within that in order of definition. */
  readonly entries: readonly FlatEntry[];
  /** Elements with padding (zeros, which no optimizer changes in a way that matters). */
  readonly size: number;
  /** The entries that are trained: the first ones. */
  readonly trained: readonly FlatEntry[];
  /** Elements of the vector that are trained: those before what is frozen. Gradients and slots end here. */
  readonly trainedSize: number;
  /** What each group of the optimizer updates at once: its whole stretch, or parameter by parameter. */
  readonly updates: readonly (readonly Stretch[])[];
  /** Running statistics, a vector of their own; those of one rule lie together. */
  readonly buffers: readonly BufferEntry[];
  readonly bufferSize: number;
}

export { NORM_BLOCK };

const LINE = ALIGNMENT / ELEMENT_BYTES;
const roundUp = (value: number, unit: number): number => Math.ceil(value / unit) * unit;

/**
 * Places parameters by the groups of an optimizer. One that needs norms over a parameter gives each its own blocks, so
 * that a block's sum of squares belongs to one parameter. Throws ConfigError on a group without parameters.
 */
export function flatLayout(
  parameters: ReadonlyMap<string, Parameter>,
  optimizer: Optimizer,
  buffers: ReadonlyMap<string, StateBuffer> = new Map(),
): FlatLayout {
  const members = optimizer.groups.map((): [string, Parameter][] => []);
  const frozen: [string, Parameter][] = [];
  for (const [name, parameter] of parameters) {
    const fits = (i: number): boolean => optimizer.groups[i]!.matches({ name, shape: parameter.shape });
    const group = members.findIndex((_, i) => i > 0 && fits(i));
    (parameter.requiresGrad ? members[Math.max(group, 0)]! : frozen).push([name, parameter]);
  }
  const empty = members.findIndex((group, i) => i > 0 && group.length === 0);
  if (empty >= 0) {
    throw new ConfigError(
      `optimizer ${optimizer.name}, group ${empty}`,
      `no parameter that is not frozen matches it (or an earlier group has them all); the parameters are ${[...parameters.keys()].join(', ')}`,
    );
  }
  let end = 0;
  const place = (group: readonly [string, Parameter][], unit: number): FlatEntry[] => {
    end = roundUp(end, unit);
    return group.map(([name, parameter]) => {
      const entry = { name, parameter, offset: end, size: parameter.size };
      end += roundUp(entry.size, unit);
      return entry;
    });
  };
  const placed = members.map((group, i) => {
    const unit = optimizer.groups[i]!.layer ? NORM_BLOCK : LINE;
    const entries = place(group, unit);
    const whole = entries.length === 0 ? [] : [{ from: entries[0]!.offset, to: end }];
    const each = entries.map(({ offset, size }) => ({ from: offset, to: offset + roundUp(size, unit) }));
    return { entries, updates: optimizer.groups[i]!.layer ? each : whole };
  });
  const trainedSize = end;
  const trained = placed.flatMap(({ entries }) => entries);
  const entries = [...trained, ...place(frozen, LINE)];
  const updates = placed.map(({ updates }) => updates);
  return { entries, size: end, trained, trainedSize, updates, ...bufferLayout(buffers, [end, trainedSize]) };
}

/** Not as long as a vector of parameters: checkpoints tell vectors apart by their lengths. */
function bufferLayout(
  buffers: ReadonlyMap<string, StateBuffer>,
  taken: readonly number[],
): Pick<FlatLayout, 'buffers' | 'bufferSize'> {
  let end = 0;
  const sorted = [...buffers].sort(([, { rule: a }], [, { rule: b }]) => a.keep - b.keep || a.add - b.add);
  const entries = sorted.map(([name, buffer]) => {
    const entry = { name, buffer, offset: end, size: buffer.size };
    end += roundUp(entry.size, LINE);
    return entry;
  });
  while (entries.length > 0 && taken.includes(end)) end += LINE;
  return { buffers: entries, bufferSize: end };
}

/** Stretches of neighbouring buffers of one rule, of those that follow anything. */
export function bufferStretches(
  { buffers }: FlatLayout,
  follows: (buffer: StateBuffer) => boolean,
): (Stretch & { readonly rule: BufferRule })[] {
  const stretches: { from: number; to: number; rule: BufferRule }[] = [];
  for (const { buffer, offset, size } of buffers) {
    if (!follows(buffer)) continue;
    const { rule } = buffer;
    const to = offset + roundUp(size, LINE);
    const last = stretches.at(-1);
    if (last?.to === offset && last.rule.keep === rule.keep && last.rule.add === rule.add) last.to = to;
    else stretches.push({ from: offset, to, rule });
  }
  return stretches;
}

/** Contiguous slices of whole blocks for the workers; the last ones may be empty. */
export function slices(size: number, workers: number): Stretch[] {
  const blocks = Math.ceil(size / NORM_BLOCK);
  return Array.from({ length: workers }, (_, worker) => ({
    from: Math.min(size, Math.floor((blocks * worker) / workers) * NORM_BLOCK),
    to: Math.min(size, Math.floor((blocks * (worker + 1)) / workers) * NORM_BLOCK),
  }));
}

/** What two stretches have in common, if anything. */
export function overlap(a: Stretch, b: Stretch): Stretch[] {
  const [from, to] = [Math.max(a.from, b.from), Math.min(a.to, b.to)];
  return from < to ? [{ from, to }] : [];
}

/** The parameters' numbers as one vector. */
export function gather(layout: FlatLayout, out: Float32Array = new Float32Array(layout.size)): Float32Array {
  for (const { parameter, offset } of layout.entries) out.set(parameter.data(), offset);
  return out;
}

/** The buffers' numbers as one vector. */
export function gatherBuffers(layout: FlatLayout): Float32Array {
  const out = new Float32Array(layout.bufferSize);
  for (const { buffer, offset } of layout.buffers) out.set(buffer.data(), offset);
  return out;
}

export function scatterBuffers(layout: FlatLayout, vector: Float32Array): void {
  for (const { buffer, offset, size } of layout.buffers) {
    buffer.value = Float32Array.from(vector.subarray(offset, offset + size));
  }
}

/** Weights, then buffers: all that a trained model is. */
export function joined(weights: Float32Array, buffers: Float32Array): Float32Array {
  const all = new Float32Array(weights.length + buffers.length);
  all.set(weights);
  all.set(buffers, weights.length);
  return all;
}

/** Gives the parameters the numbers of a vector (copied). */
export function scatter(layout: FlatLayout, vector: Float32Array): void {
  for (const { parameter, offset, size } of layout.entries) {
    parameter.value = Float32Array.from(vector.subarray(offset, offset + size));
  }
}
