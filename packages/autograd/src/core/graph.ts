/** The traced step as data: nodes in the order in which they were made, which is a topological order. */
import type { AnyOp } from './op.ts';
import { OpError, type Spec } from './shape.ts';
import { Parameter, StateBuffer, Tensor, type TensorData } from './tensor.ts';

/** Where a graph's input comes from: the model, a field of the batch, or a number of the step's record. */
export type InputKind = 'parameter' | 'buffer' | 'field' | 'scalar';

interface NodeBase extends Spec {
  readonly id: number;
  /** Where in the model this was made: module path and op (for messages and profiles). */
  readonly label: string;
}
export interface InputNode extends NodeBase {
  readonly kind: 'input';
  readonly input: InputKind;
  readonly name: string;
}
export interface ConstantNode extends NodeBase {
  readonly kind: 'constant';
  readonly data: TensorData;
}
export interface OpNode extends NodeBase {
  readonly kind: 'op';
  readonly op: AnyOp;
  readonly attrs: unknown;
  readonly inputs: readonly GraphNode[];
}
export type GraphNode = InputNode | ConstantNode | OpNode;

/** What the numbers of a random stream belong to when rows are computed for themselves, however many at once. */
export type Samples =
  /** Nothing: they are alike for all rows. */
  | 'none'
  /** To `count` rows along an axis of the shape; the unit's first word numbers the first of them. */
  | { readonly axis: number; readonly count: number };

/** Collects the nodes of one trace. */
export class Trace {
  readonly nodes: GraphNode[] = [];
  readonly parameters = new Map<Parameter, InputNode>();
  readonly buffers = new Map<StateBuffer, InputNode>();
  readonly #constants = new Map<TensorData, ConstantNode>();
  /** Number of the next random stream. */
  nextStream = 0;
  /** By random stream: what its numbers belong to, where that is not the shard. */
  readonly samples = new Map<number, Samples>();

  input(input: InputKind, name: string, spec: Spec): Tensor {
    const node: InputNode = { kind: 'input', input, name, label: name, ...this.#base(spec) };
    this.nodes.push(node);
    return new Tensor(node, spec.shape, spec.dtype);
  }

  op(op: AnyOp, inputs: readonly Tensor[], attrs: unknown, spec: Spec, label: string): OpNode {
    const nodes = inputs.map((tensor) => this.#lift(tensor, op.name));
    const node: OpNode = { kind: 'op', op, attrs, inputs: nodes, label, ...this.#base(spec) };
    this.nodes.push(node);
    return node;
  }

  /** The node that a tensor stands for; eager tensors enter the graph as parameters or constants. */
  nodeOf(tensor: Tensor): GraphNode {
    return this.#lift(tensor, 'trace');
  }

  #lift(tensor: Tensor, user: string): GraphNode {
    const { value } = tensor;
    if (!ArrayBuffer.isView(value)) {
      if (this.nodes[value.id] === value) return value;
      throw new OpError(
        user,
        'got a tensor of an earlier trace; do not keep tensors in variables across steps',
      );
    }
    if (tensor instanceof Parameter) return this.#owned('parameter', this.parameters, tensor);
    if (tensor instanceof StateBuffer) return this.#owned('buffer', this.buffers, tensor);
    let node = this.#constants.get(value);
    if (!node) {
      node = { kind: 'constant', data: value, label: 'constant', ...this.#base(tensor) };
      this.#constants.set(value, node);
      this.nodes.push(node);
    }
    return node;
  }

  /** The input that stands for a tensor of the model. */
  #owned<T extends Tensor>(input: InputKind, known: Map<T, InputNode>, tensor: T): InputNode {
    const found = known.get(tensor);
    if (found) return found;
    const name = `${input} ${known.size}`;
    const node: InputNode = { kind: 'input', input, name, label: name, ...this.#base(tensor) };
    known.set(tensor, node);
    this.nodes.push(node);
    return node;
  }

  #base({ shape, dtype }: Spec): Omit<NodeBase, 'label'> {
    return { id: this.nodes.length, shape, dtype };
  }
}
