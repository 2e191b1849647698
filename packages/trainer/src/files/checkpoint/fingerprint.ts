/** What a run is, in a form that can be read and compared: a run goes on only as what it was. */
import { formatSpec, type GraphNode } from '@lockstep/autograd';
import type { Json, StateEntry, UpdateGroup } from '@lockstep/nn';
import { batchShards, shardRows } from '@lockstep/sync';
import { traceUpdate } from '../../define/checkOptimizer.ts';
import type { Prepared } from '../../define/prepare.ts';
import { traceStep } from '../../step/trace.ts';
import { definitionRecord } from '../output.ts';
import { sha256 } from './manifest.ts';

/**
 * Goes up whenever the same definition gives other bits than before and the traced step doesn't show it: how rows are spread
 * over shards, what keys random numbers. A run is never resumed across such a change.
 */
const NUMERICS_REVISION = 2;

export type RunDefinition = { readonly [key: string]: Json };

/**
 * All that the weights are a function of. Model, loss, metrics and optimizer are code, and stand here as what they do: the
 * traced step of one shard (null where it cannot be traced, as eager execution allows) and the updates, one op per line.
 */
export function runDefinition<M, F extends string>(
  prepared: Prepared<M, F>,
  given: { readonly initialWeights?: ReadonlyMap<string, StateEntry> | undefined },
): RunDefinition {
  const metrics = Object.keys(prepared.definition.metrics);
  const updates = prepared.definition.optimizer.groups.flatMap(updateText);
  const buffers = prepared.layout.buffers.map(({ name, buffer: { shape, rule } }) => ({ name, shape, rule }));
  const record = {
    ...definitionRecord(prepared, given),
    ...{ metrics, buffers, updates, step: stepText(prepared), numericsRevision: NUMERICS_REVISION },
  };
  return JSON.parse(JSON.stringify(record)) as RunDefinition;
}

/** Of a definition: equal ones have equal hashes. */
export const definitionHash = (definition: Json): string => sha256(JSON.stringify(definition));

function stepText<M, F extends string>({ definition, model, layout, data }: Prepared<M, F>): string[] | null {
  const shards = batchShards(Math.min(definition.batch, data.length), definition.shards);
  try {
    const { sums, gradients, statistics, parameters } = traceStep(
      definition,
      model,
      layout,
      data,
      shardRows(shards, 0),
      true,
    );
    const nameOf = new Map(layout.entries.map(({ parameter, name }) => [parameter, name]));
    const names = new Map<GraphNode, string>(
      [...parameters].map(([node, parameter]) => [node, nameOf.get(parameter)!]),
    );
    return graphText([...sums, ...gradients, ...statistics.values()], names);
  } catch {
    return null;
  }
}

function updateText(group: UpdateGroup): string[] {
  const { trace, results } = traceUpdate(group);
  return graphText(Object.values(results).flatMap((tensor) => (tensor ? [trace.nodeOf(tensor)] : [])));
}

/** One line per node, in the order in which they were made; then the outputs. */
function graphText(
  outputs: readonly GraphNode[],
  names: ReadonlyMap<GraphNode, string> = new Map(),
): string[] {
  const reached = new Set<GraphNode>(outputs);
  for (const node of reached) if (node.kind === 'op') for (const input of node.inputs) reached.add(input);
  const nodes = [...reached].sort((a, b) => a.id - b.id);
  const number = new Map(nodes.map((node, i) => [node, `%${i}`]));
  const what = (node: GraphNode): string => {
    if (node.kind === 'input') return `${node.input} ${names.get(node) ?? node.name}`;
    if (node.kind === 'constant') return `constant ${digest(node.data)}`;
    const inputs = node.inputs.map((input) => number.get(input));
    const attrs = JSON.stringify(node.attrs, plain);
    return [node.op.name, ...inputs, ...(attrs === undefined || attrs === '{}' ? [] : [attrs])].join(' ');
  };
  return [
    ...nodes.map((node) => `${number.get(node)} = ${what(node)}: ${formatSpec(node)}`),
    `outputs ${outputs.map((node) => number.get(node)).join(' ')}`,
  ];
}

const digest = (view: ArrayBufferView): string =>
  sha256(new Uint8Array(view.buffer, view.byteOffset, view.byteLength)).slice(0, 16);

/** What JSON has no form for. */
const plain = (_: string, value: unknown): unknown => {
  if (ArrayBuffer.isView(value)) return digest(value);
  if (typeof value === 'function' || typeof value === 'bigint') return String(value);
  return typeof value === 'number' && !Number.isFinite(value) ? String(value) : value;
};

/** Differences that are told; the rest is counted. */
const MOST_DIFFERENCES = 5;

/** In words what is not as it was: `batch was 60, is 61`. Undefined where nothing is. */
export function differences(then: Json, now: Json): string | undefined {
  const found = [...compare('', then, now)];
  if (found.length === 0) return undefined;
  const rest = found.length - MOST_DIFFERENCES;
  return found.slice(0, MOST_DIFFERENCES).join('; ') + (rest > 0 ? `; and ${rest} more` : '');
}

function* compare(path: string, then: Json | undefined, now: Json | undefined): Generator<string> {
  const what = CODE[path];
  if (what !== undefined) yield* compareLines(what, then, now);
  else if (path === 'data.contentHash' && then !== now) yield 'the data changed';
  else if (path === 'numericsRevision' && then !== now)
    yield `it was written by a version of Lockstep that computes other bits (revision ${then ?? 1}, this is ${now}); resume it with that version`;
  else if (isRecord(then) && isRecord(now)) {
    for (const key of new Set([...Object.keys(then), ...Object.keys(now)]))
      yield* compare(path === '' ? key : `${path}.${key}`, then[key], now[key]);
  } else if (JSON.stringify(then) !== JSON.stringify(now)) yield `${path} was ${show(then)}, is ${show(now)}`;
}

/** What is code, and stands in the definition op by op. */
const CODE: Readonly<Record<string, string>> = {
  step: 'the step of model, loss and metrics',
  updates: 'the update of the optimizer',
};

/** Only the first line: what follows it is something else anyway. */
function* compareLines(what: string, then: Json | undefined, now: Json | undefined): Generator<string> {
  if (!Array.isArray(then) || !Array.isArray(now)) return;
  const line = Array.from({ length: Math.max(then.length, now.length) }).findIndex(
    (_, i) => then[i] !== now[i],
  );
  if (line === -1) return;
  const at = (lines: readonly Json[]): string => String(lines[line] ?? 'no more').replace(/^%\d+ = /, '');
  yield `${what} was “${at(then)}” in line ${line + 1}, is “${at(now)}”`;
}

const isRecord = (value: Json | undefined): value is { readonly [key: string]: Json } =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const show = (value: Json | undefined): string => {
  const text = value === undefined ? 'not there' : JSON.stringify(value);
  return text.length > 100 ? `${text.slice(0, 99)}…` : text;
};
