/** Numbers of a model that are not trained but follow what training sees: running statistics. */
import { context, noGrad } from '../core/context.ts';
import { expectTensors, formatSpec, OpError, sameShape } from '../core/shape.ts';
import { type BufferRule, StateBuffer, type Tensor } from '../core/tensor.ts';
import { add, mul } from '../ops/index.ts';
import { detach } from './gradients.ts';

/** What a batch has seen, by buffer. */
export type Statistics = Map<StateBuffer, Tensor>;

/** A buffer after a batch: keep · before + add · seen. */
export const mergeBuffer = (before: Tensor, seen: Tensor, rule: BufferRule): Tensor =>
  add(mul(before, rule.keep), mul(seen, rule.add));

/**
 * Tells what a batch has seen for a buffer, once per batch. While training, that is a shard; the trainer takes the mean over the
 * shards, weighted by their rows and added by the shard tree, and changes the buffer once per batch. On its own the buffer
 * changes at once. Throws OpError.
 */
export function updateBuffer(buffer: StateBuffer, seen: Tensor): void {
  expectTensors('updateBuffer', buffer, seen);
  if (!(buffer instanceof StateBuffer) || !sameShape(buffer.shape, seen.shape)) {
    throw new OpError(
      'updateBuffer',
      `got ${formatSpec(buffer)} and ${formatSpec(seen)}, expected equal shapes`,
    );
  }
  const { statistics, trace } = context();
  if (statistics?.has(buffer)) {
    throw new OpError(
      'updateBuffer',
      `got two values for a buffer ${formatSpec(buffer)} in one batch, expected one; run a layer with statistics once per batch, ` +
        'make one layer for each use, or let it keep none ({ trackRunningStats: false }). (PyTorch follows one use after the ' +
        'other; here a batch is merged into them once.)',
    );
  }
  if (statistics) statistics.set(buffer, detach(seen));
  else if (!trace) buffer.value = noGrad(() => mergeBuffer(buffer, seen, buffer.rule)).data();
}
