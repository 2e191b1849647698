/**
 * Graph → program. The graph is traced for one shard; the program runs `segments` adjacent shards at once and adds
 * what comes out by the shard tree, with the same bits as one shard after another (design §3).
 */
import type { InputNode } from '@lockstep/autograd';
import { type Program, validateProgram } from '@lockstep/kernels';
import { Lowering } from './emit.ts';
import { CompileError } from './errors.ts';
import { fuse, sourceOf, type Unit } from './fuse.ts';
import type { CompileOptions, InputBinding } from './options.ts';
import { planUpdate } from './update.ts';
import { collectValues, type Value, type Values } from './values.ts';

export { CompileError } from './errors.ts';

/** An input of the batch whose values index something. */
export interface IndexLimit {
  readonly field: string;
  readonly op: string;
  /** Values must be from 0 to limit − 1. */
  readonly limit: number;
}

export interface CompiledProgram {
  readonly program: Program;
  /** Content of the region `constants`. */
  readonly constants: Uint8Array;
  readonly indexLimits: readonly IndexLimit[];
}

/** Compiles and validates. Throws CompileError. */
export function compile(options: CompileOptions): CompiledProgram {
  const { segments, outputs, bind, journal } = options;
  if (!Number.isInteger(segments) || segments < 1) {
    throw new CompileError(`compile: got ${segments} segments, expected an integer of at least 1`);
  }
  const bindings = new Map<InputNode, InputBinding>();
  const bindingOf = (node: InputNode): InputBinding => {
    const binding = bindings.get(node) ?? bind(node);
    bindings.set(node, binding);
    return binding;
  };
  const values = collectValues(
    outputs.map((output) => output.node),
    segments,
    (node) => bindingOf(node).kind === 'field',
  );
  const lowering = new Lowering(segments, bindingOf, options);
  if (journal) {
    const { before, commit, outputs: written } = planUpdate(values, options, bindingOf);
    const usedOutside = usersOutside(values, [...before, commit], options);
    for (const unit of before) lowering.lower(unit, usedOutside);
    lowering.commit(commit, written, values, journal);
  } else {
    const units = fuse(values.order, options.fuse ?? true);
    const usedOutside = usersOutside(values, units, options);
    lowering.pin(outputs, values);
    for (const unit of units) {
      lowering.lower(unit, usedOutside);
      lowering.deliver(outputs, values, unit.members);
    }
    lowering.deliver(outputs, values);
  }
  const { program, constants } = lowering.finish();
  validateProgram(program);
  return { program, constants, indexLimits: indexLimitsOf(values) };
}

/** Whether a value is needed by another unit, by a window on memory, or as an output. */
function usersOutside(values: Values, units: readonly Unit[], { outputs }: CompileOptions) {
  const unitOf = new Map<Value, Unit>();
  for (const unit of units) for (const member of unit.members) unitOf.set(member, unit);
  const needed = new Set<Value>(outputs.map((output) => values.of.get(output.node)!));
  for (const value of values.order) {
    if (value.kind !== 'op') continue;
    for (const input of value.inputs) {
      if (unitOf.get(value) === undefined || unitOf.get(value) !== unitOf.get(input)) needed.add(input);
    }
  }
  return (value: Value): boolean => needed.has(value);
}

function indexLimitsOf(values: Values): IndexLimit[] {
  return values.order.flatMap((value) => {
    if (value.kind !== 'op' || value.op.kind !== 'kernel') return [];
    const limits = value.op.indexLimits?.(value.node.inputs, value.node.attrs as never) ?? [];
    return limits.flatMap(({ input, limit }) => {
      const source = sourceOf(value.inputs[input]!);
      const isField = source.kind === 'input' && source.node.input === 'field';
      return isField ? [{ field: source.node.name, op: value.label, limit }] : [];
    });
  });
}
