/**
 * Note [Updates in several chains]: An update that may be cut off and run again writes all its outputs in one journaled
 * elementwise chain, tile by tile: the *commit*. What does not fit into it (the sum of many units' gradients, a rule with
 * dozens of steps) is computed before it, into the arena.
 *
 * That is safe for what reads memory that the commit writes, too, as long as it goes element by element. A second run
 * finds some tiles committed. For these it computes nonsense from the new weights, which the commit never reads: it goes
 * on behind them. (The one tile that was cut off half-way is copied once more from the journal's scratch.) Tiles after
 * these are still as they were, and so is all that is computed from them.
 */
import { sameShape, sizeOf } from '@lockstep/autograd';
import { ELEMENT_BYTES, MAX_SLOTS } from '@lockstep/kernels';
import { CompileError } from './errors.ts';
import { fuse, slotsOf, sourceOf, type Unit } from './fuse.ts';
import type { CompileOptions, InputBinding, Output, Place } from './options.ts';
import type { InputValue, OpValue, Value, Values } from './values.ts';

/** How the calls of an update follow each other. */
export interface UpdatePlan {
  /** Run first; they write to the arena alone. */
  readonly before: readonly Unit[];
  /** The ops that the commit computes itself; none: it copies what the units before it left. */
  readonly commit: Unit;
  /** What the commit writes: the outputs that differ from what is at their place. */
  readonly outputs: readonly Output[];
}

export type BindingOf = (input: InputValue['node']) => InputBinding;

/** Throws CompileError where more than elementwise ops read what the update writes. */
export function planUpdate(values: Values, options: CompileOptions, bindingOf: BindingOf): UpdatePlan {
  const outputs = options.outputs.filter((output) => {
    const value = values.of.get(output.node)!;
    const at = value.kind === 'input' ? bindingOf(value.node) : undefined;
    return !(at?.kind === 'memory' && isSamePlace(at, output.place));
  });
  checkShapes(values, options.outputs);
  const overwritten = readersOfOutputs(values, options.outputs, bindingOf);
  const isOverwritten = (unit: Unit): boolean => unit.members.some((member) => overwritten.has(member));

  const enabled = options.fuse ?? true;
  const plan = planCommit(fuse(values.order, enabled), values, outputs);
  if (!plan.before.some(isOverwritten)) return plan;
  // It is too much for one chain: the gradient gets chains of its own, so that what reads state stays together.
  const apart = (a: Unit, b: Unit): boolean => isOverwritten(a) === isOverwritten(b);
  return planCommit(fuse(values.order, enabled, apart), values, outputs);
}

/** Takes as many of the units that compute outputs into the commit as fit and as their order allows. */
function planCommit(units: readonly Unit[], values: Values, outputs: readonly Output[]): UpdatePlan {
  const unitOf = new Map<Value, Unit>();
  for (const unit of units) for (const member of unit.members) unitOf.set(member, unit);
  const results = [...new Set(outputs.map(({ node }) => values.of.get(node)!))];
  const homes = new Set(results.flatMap((result) => unitOf.get(result) ?? []));

  const taken: OpValue[] = [];
  // Units that run before the commit, and what these need.
  const early = new Set<Unit>();
  const leave = (unit: Unit): void => {
    if (early.has(unit)) return;
    early.add(unit);
    for (const needed of neededBy(unit, unitOf)) leave(needed);
  };
  for (const unit of [...units].reverse()) {
    const isResult = homes.has(unit);
    const members = [...taken, ...unit.members];
    const copied = results.filter((result) => !members.includes(result as OpValue)).length;
    const isChain = unit.members[0]!.op.kind === 'elementwise' && !isSeenThroughWindow(unit, taken, results);
    // Each result takes a slot in addition to its register, each copied one also that of an input.
    if (isResult && isChain && !early.has(unit) && slotsOf(members) + results.length + copied <= MAX_SLOTS) {
      taken.push(...unit.members);
    } else {
      leave(unit);
    }
  }
  const commit: Unit = { members: taken.sort((a, b) => a.id - b.id) };
  return { before: units.filter((unit) => early.has(unit)), commit, outputs };
}

/** The units whose values a unit reads, directly or through windows. */
function neededBy(unit: Unit, unitOf: ReadonlyMap<Value, Unit>): Set<Unit> {
  const inputs = unit.members.flatMap((member) => member.inputs.map(sourceOf));
  return new Set(inputs.flatMap((input) => unitOf.get(input) ?? []).filter((other) => other !== unit));
}

/** Whether the commit would read a member in another order than the one it computes it in. */
function isSeenThroughWindow(
  { members }: Unit,
  readers: readonly OpValue[],
  results: readonly Value[],
): boolean {
  const read = [...readers.flatMap(({ inputs }) => inputs), ...results];
  const sources = read.flatMap((value) => (sourceOf(value) === value ? [] : [sourceOf(value)]));
  return members.some((member) => sources.includes(member));
}

const isSamePlace = (a: Place, b: Place): boolean => a.region === b.region && a.offset === b.offset;

function checkShapes(values: Values, outputs: readonly Output[]): void {
  const [first] = outputs.map(({ node }) => values.of.get(node)!);
  for (const { node, place } of outputs) {
    const { shape } = values.of.get(node)!;
    if (sameShape(shape, first!.shape)) continue;
    throw new CompileError(
      `compile: got [${shape}] for ${place.region} and [${first!.shape}] for ${outputs[0]!.place.region}, expected what an ` +
        'update writes to be of one shape',
    );
  }
}

/** All that depends on memory which an output overwrites. Throws CompileError unless it does so element by element. */
function readersOfOutputs(values: Values, outputs: readonly Output[], bindingOf: BindingOf): Set<Value> {
  const found = new Set<Value>();
  const refuse = (value: Value, way: string): never => {
    throw new CompileError(
      `compile: got ${value.label} of what the update itself writes, ${way}, expected element-wise ops on tensors of the shape ` +
        'of the weight: an update may be cut off and run again',
    );
  };
  const { shape } = values.of.get(outputs[0]!.node)!;
  for (const value of values.order) {
    if (value.kind === 'input') {
      const at = bindingOf(value.node);
      if (at.kind !== 'memory') continue;
      const [from, to] = [at.offset, at.offset + sizeOf(value.shape) * ELEMENT_BYTES];
      const bytes = sizeOf(shape) * ELEMENT_BYTES;
      const over = outputs.filter(
        ({ place: { region, offset } }) => region === at.region && offset < to && from < offset + bytes,
      );
      if (over.length === 0) continue;
      if (!over.every(({ place }) => isSamePlace(place, at)) || !sameShape(value.shape, shape)) {
        refuse(value, 'at another place');
      }
      found.add(value);
    } else if (value.kind === 'op' && value.inputs.some((input) => found.has(input))) {
      if (value.op.kind !== 'elementwise') refuse(value, `which is a ${value.op.kind}`);
      if (!sameShape(value.shape, shape)) refuse(value, `of shape [${value.shape}]`);
      found.add(value);
    }
  }
  return found;
}
