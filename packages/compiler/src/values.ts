/** First pass: what has to be computed. Removes dead nodes, merges equal ones, folds uniform constants. */
import {
  type AnyOp,
  apply,
  type ConstantNode,
  full,
  type GraphNode,
  type InputNode,
  noGrad,
  type Op,
  type OpNode,
  type Shape,
} from '@lockstep/autograd';

interface ValueBase {
  /** Position in the order of computation. */
  readonly id: number;
  readonly label: string;
  readonly node: GraphNode;
  /** Differs between shards: has one slice per segment along the leading axis. */
  readonly batched: boolean;
  /** With the leading axis: `segments` where batched, else 1. */
  readonly shape: Shape;
}
export interface InputValue extends ValueBase {
  readonly kind: 'input';
  readonly node: InputNode;
}
export interface ConstantValue extends ValueBase {
  readonly kind: 'constant';
  readonly node: ConstantNode;
}
/** Every element is the same number, known now: it takes no memory inside a chain. */
export interface UniformValue extends ValueBase {
  readonly kind: 'uniform';
  readonly value: number;
}
export interface OpValue extends ValueBase {
  readonly kind: 'op';
  readonly node: OpNode;
  readonly op: Op<never>;
  readonly inputs: readonly Value[];
}
export type Value = InputValue | ConstantValue | UniformValue | OpValue;

export interface Values {
  readonly order: readonly Value[];
  readonly of: ReadonlyMap<GraphNode, Value>;
}

/** Nodes that `outputs` depend on, in the order in which they were traced. */
function liveNodes(outputs: readonly GraphNode[]): GraphNode[] {
  const live = new Set<GraphNode>(outputs);
  const stack = [...live];
  for (let node = stack.pop(); node; node = stack.pop()) {
    for (const input of node.kind === 'op' ? node.inputs : []) {
      if (!live.has(input)) {
        live.add(input);
        stack.push(input);
      }
    }
  }
  return [...live].sort((a, b) => a.id - b.id);
}

/** Numbers of float64 are taken as the f32 that they become in memory. */
const singleOf = ({ data }: ConstantNode): number =>
  data instanceof Float64Array ? Math.fround(data[0]!) : data[0]!;

/** The number that an elementwise op gives on uniform inputs, by the same kernels that would run later. */
function fold(node: OpNode, inputs: readonly UniformValue[]): number {
  const scalars = inputs.map((input) => full([], input.value, input.node.dtype));
  const attrs = inputs.length === 0 ? { ...(node.attrs as object), shape: [] } : node.attrs;
  return noGrad(() => apply(node.op as AnyOp, scalars, attrs as never)).item();
}

export function collectValues(
  outputs: readonly GraphNode[],
  segments: number,
  isBatchedInput: (node: InputNode) => boolean,
): Values {
  const order: Value[] = [];
  const of = new Map<GraphNode, Value>();
  const known = new Map<string, Value>();
  const opIds = new Map<AnyOp, number>();

  for (const node of liveNodes(outputs)) {
    const base = (batched: boolean): ValueBase => ({
      id: order.length,
      label: node.label,
      node,
      batched,
      shape: [batched ? segments : 1, ...node.shape],
    });
    const define = (value: Value): void => {
      of.set(node, value);
      order.push(value);
    };
    if (node.kind === 'input') {
      define({ ...base(isBatchedInput(node)), kind: 'input', node });
      continue;
    }
    if (node.kind === 'constant') {
      // One number is as good as a uniform array: it needs no memory.
      if (node.data.length === 1) define({ ...base(false), kind: 'uniform', value: singleOf(node) });
      else define({ ...base(false), kind: 'constant', node });
      continue;
    }
    const inputs = node.inputs.map((input) => of.get(input)!);
    if (!opIds.has(node.op)) opIds.set(node.op, opIds.size);
    const key = `${opIds.get(node.op)} ${inputs.map((input) => input.id)} ${JSON.stringify(node.attrs)}`;
    const twin = known.get(key);
    if (twin) {
      of.set(node, twin);
      continue;
    }
    const op = node.op as Op<never>;
    const uniform = inputs.filter((input) => input.kind === 'uniform');
    const batched = inputs.some((input) => input.batched) || (op.kind === 'kernel' && op.random === true);
    if (uniform.length === inputs.length && op.kind === 'elementwise') {
      define({ ...base(false), kind: 'uniform', value: fold(node, uniform) });
    } else if (uniform.length === 1 && op.kind === 'view') {
      define({ ...base(false), kind: 'uniform', value: uniform[0]!.value });
    } else {
      define({ ...base(batched), kind: 'op', node, op, inputs });
    }
    known.set(key, of.get(node)!);
  }
  return { order, of };
}
