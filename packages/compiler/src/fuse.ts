/**
 * Second pass: which values one call computes. Elementwise ops of one shape that feed each other become one unit, a
 * chain that goes over memory once. Merging two units is allowed where no path leads from one to the other through
 * a third (that would be a cycle).
 */
import { sameShape } from '@lockstep/autograd';
import { MAX_SLOTS } from '@lockstep/kernels';
import type { OpValue, Value } from './values.ts';

/** One call, or one elementwise chain. Members are in order of computation. */
export interface Unit {
  readonly members: OpValue[];
}

const isElementwise = (value: Value): value is OpValue =>
  value.kind === 'op' && value.op.kind === 'elementwise';

/** What a value needs, seen through windows on memory: the op that computes it. */
export function sourceOf(value: Value): Value {
  let source = value;
  while (source.kind === 'op' && source.op.kind === 'view') source = source.inputs[0]!;
  return source;
}

class Units {
  readonly of = new Map<OpValue, Unit>();

  dependencies(unit: Unit): Set<Unit> {
    const found = new Set<Unit>();
    for (const member of unit.members) {
      for (const input of member.inputs) {
        const source = sourceOf(input);
        const other = source.kind === 'op' ? this.of.get(source) : undefined;
        if (other && other !== unit) found.add(other);
      }
    }
    return found;
  }

  /** Whether `from` needs `to` by way of a third unit. */
  #needsIndirectly(from: Unit, to: Unit): boolean {
    const seen = new Set<Unit>([from, to]);
    const stack = [...this.dependencies(from)].filter((unit) => unit !== to);
    for (let unit = stack.pop(); unit; unit = stack.pop()) {
      if (seen.has(unit)) continue;
      seen.add(unit);
      for (const next of this.dependencies(unit)) {
        if (next === to) return true;
        stack.push(next);
      }
    }
    return false;
  }

  /** Whether a member of `from` reads one of `to` through a window, behind which the elements are in another order. */
  #seesThroughWindow(from: Unit, to: Unit): boolean {
    const sees = (input: Value): boolean => {
      const source = sourceOf(input);
      return source !== input && source.kind === 'op' && this.of.get(source) === to;
    };
    return from.members.some((member) => member.inputs.some(sees));
  }

  merge(a: Unit, b: Unit): void {
    if (a === b || slotsOf([...a.members, ...b.members]) > MAX_SLOTS) return;
    if (this.#seesThroughWindow(a, b) || this.#seesThroughWindow(b, a)) return;
    if (this.#needsIndirectly(a, b) || this.#needsIndirectly(b, a)) return;
    const members = [...a.members, ...b.members].sort((x, y) => x.id - y.id);
    const merged: Unit = { members };
    for (const member of members) this.of.set(member, merged);
  }

  /** Moves a member that only `target` uses there. What `target` needs now, it needed before by way of the member. */
  move(member: OpValue, target: Unit): void {
    const home = this.of.get(member)!;
    const extended: Unit = { members: [...target.members, member].sort((x, y) => x.id - y.id) };
    if (slotsOf(extended.members) > MAX_SLOTS) return;
    const rest: Unit = { members: home.members.filter((other) => other !== member) };
    for (const unit of [rest, extended]) for (const each of unit.members) this.of.set(each, unit);
  }
}

/** An upper bound of a chain's slots: one for each input from outside and for each step. */
export function slotsOf(members: readonly OpValue[]): number {
  const inside = new Set<Value>(members);
  const outside = new Set(members.flatMap((member) => member.inputs).filter((input) => !inside.has(input)));
  return outside.size + members.reduce((sum, member) => sum + stepsOf(member), 0);
}

const stepsOf = ({ op, node }: OpValue): number =>
  op.kind === 'elementwise' ? op.steps(node.inputs, node.attrs as never).length : 1;

/** Units in an order in which they can run. Only those are merged that `mayMerge` allows. */
export function fuse(
  values: readonly Value[],
  enabled: boolean,
  mayMerge: (a: Unit, b: Unit) => boolean = () => true,
): Unit[] {
  const units = new Units();
  for (const value of values) {
    if (value.kind !== 'op' || value.op.kind === 'view') continue;
    units.of.set(value, { members: [value] });
    if (!enabled || !isElementwise(value)) continue;
    for (const input of value.inputs) {
      // Only direct neighbours: behind a window the elements are in another order.
      if (isElementwise(input) && sameShape(input.shape, value.shape)) {
        const [unit, other] = [units.of.get(value)!, units.of.get(input)!];
        if (mayMerge(unit, other)) units.merge(unit, other);
      }
    }
  }
  if (enabled) sink(values, units);
  return schedule(units);
}

/**
 * Note [Late is better]: An op that only a later unit uses (the mask of a relu, used in the backward pass) is moved
 * there when it is made of one array that is in memory anyway: an array less to write and to keep meanwhile.
 */
function sink(values: readonly Value[], units: Units): void {
  const users = new Map<Value, OpValue[]>();
  for (const value of values) {
    if (value.kind !== 'op') continue;
    for (const input of value.inputs) users.set(input, [...(users.get(input) ?? []), value]);
  }
  for (const value of [...values].reverse()) {
    if (!isElementwise(value)) continue;
    const home = units.of.get(value)!;
    const targets = new Set((users.get(value) ?? []).map((user) => units.of.get(user)));
    const [target] = targets;
    if (targets.size !== 1 || target === undefined || target === home) continue;
    const first = target.members[0]!;
    if (!isElementwise(first) || !sameShape(first.shape, value.shape)) continue;
    const arrays = new Set(value.inputs.filter(({ kind }) => kind !== 'uniform'));
    const isKept = (input: Value): boolean =>
      input.kind !== 'op' ||
      units.of.get(input) !== home ||
      users.get(input)!.some((user) => user !== value && units.of.get(user) !== home);
    if (arrays.size === 1 && [...arrays].every(isKept)) units.move(value, target);
  }
}

/** Depth first along dependencies, in the order of tracing. */
function schedule(units: Units): Unit[] {
  const order: Unit[] = [];
  const state = new Map<Unit, 'open' | 'done'>();
  const sorted = [...new Set(units.of.values())].sort((a, b) => a.members.at(-1)!.id - b.members.at(-1)!.id);
  for (const root of sorted) {
    const stack = [root];
    while (stack.length > 0) {
      const unit = stack[stack.length - 1]!;
      if (state.get(unit) === undefined) {
        state.set(unit, 'open');
        for (const needed of units.dependencies(unit)) if (!state.has(needed)) stack.push(needed);
        continue;
      }
      stack.pop();
      if (state.get(unit) === 'done') continue;
      state.set(unit, 'done');
      order.push(unit);
    }
  }
  return order;
}
