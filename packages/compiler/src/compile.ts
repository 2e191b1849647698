/**
 * Graph → program. The graph is traced for one shard; the program runs `segments` adjacent shards at once and adds
 * what comes out by the shard tree, with the same bits as one shard after another (design §3).
 */
import type { InputNode } from '@lockstep/autograd';
import { type Program, validateProgram } from '@lockstep/kernels';
import { Lowering } from './emit.ts';
import { fuse, sourceOf, type Unit } from './fuse.ts';
import type { CompileOptions, InputBinding } from './options.ts';
import { collectValues, type OpValue, type Value, type Values } from './values.ts';

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

export class CompileError extends Error {
  override readonly name = 'CompileError';
  readonly code = 'LOCKSTEP_COMPILE';
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
  const units = fuse(values.order, options.fuse ?? true);
  const journaled = journal && journaledUnit(values, units, options, bindingOf);

  const lowering = new Lowering(segments, bindingOf, options);
  lowering.pin(outputs, values);
  const usedOutside = usersOutside(values, units, options);
  for (const unit of units) {
    lowering.lower(unit, usedOutside, unit === journaled);
    // A journaled update is the last call of its program.
    if (!journaled) lowering.deliver(outputs, values, unit.members);
  }
  const { program, constants } = lowering.finish(outputs, values);
  validateProgram(program);
  return { program, constants, indexLimits: indexLimitsOf(values) };
}

/**
 * The unit that writes all outputs of a program that may be run again: one elementwise chain, which commits tile by
 * tile. What comes before it may only read what it does not write.
 */
function journaledUnit(
  values: Values,
  units: readonly Unit[],
  { outputs }: CompileOptions,
  bindingOf: (node: InputNode) => InputBinding,
): Unit | undefined {
  const results = outputs.map((output) => values.of.get(output.node)!);
  const last = units.find((unit) => unit.members.some((member) => member === results[0]));
  const written = new Set(outputs.map((output) => output.place.region));
  const readsWritten = (value: Value): boolean => {
    const source = sourceOf(value);
    const binding = source.kind === 'input' ? bindingOf(source.node) : undefined;
    return binding?.kind === 'memory' && written.has(binding.region);
  };
  const others = units.filter((unit) => unit !== last).flatMap((unit) => unit.members);
  const isChain =
    last?.members[0]?.op.kind === 'elementwise' &&
    results.every((result) => last.members.includes(result as OpValue));
  // Plain copies of what is not written may be repeated.
  if (units.length === 0 && !results.some(readsWritten)) return undefined;
  if (last && isChain && !others.some((member) => member.inputs.some(readsWritten))) return last;
  const calls = units.map((unit) => unit.members.map((member) => member.op.name).join('+'));
  throw new CompileError(
    `compile: got the calls ${calls.join(', ')}, expected an update to be one chain of elementwise ops; use element-wise ` +
      'ops only, on tensors of the shape of the weight',
  );
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
