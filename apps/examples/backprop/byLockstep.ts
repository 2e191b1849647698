/** The same network from Lockstep's parts: its gradients come from autograd, its training from train(). */
import { data, defineTraining, gradients, init, nn, optim, type Tensor, tensor, withRandom } from 'lockstep';
import type { Activations, Deltas, Matrix, Vector, Weights } from './byHand.ts';
import type { Task } from './tasks.ts';

export interface Options {
  readonly hidden: number;
  readonly lr: number;
  readonly epochs: number;
  readonly seed: number;
}

/** Two linear layers with the task's inputs and outputs; weights start uniform in ±1. */
function network({ inputs, targets }: Task, hidden: number) {
  const start = { weightInit: init.uniform(-1, 1), biasInit: init.uniform(-1, 1) };
  return {
    hidden: nn.linear(inputs[0]!.length, hidden, start),
    output: nn.linear(hidden, targets[0]!.length, start),
  };
}

export type Network = ReturnType<typeof network>;

export const start = (task: Task, { hidden, seed }: Options): Network =>
  withRandom({ seed }, () => network(task, hidden));

/** All activations of a batch, each [patterns, units]. */
function activations(model: Network, x: Tensor) {
  const a = model.hidden(x);
  const h = a.sigmoid();
  const z = model.output(h);
  return { a, h, z, o: z.sigmoid() };
}

/** Mean over the patterns of E = ½ Σₖ (oₖ − tₖ)². */
const errorOf = (o: Tensor, t: Tensor): Tensor => o.sub(t).square().sum(-1).mul(0.5).mean();

/** One pattern, op by op: every activation and, by autograd, the errors of the units. */
export function look(model: Network, x: Vector, t: Vector): Activations & { deltas: Deltas } {
  const { a, h, z, o } = activations(model, tensor([x]));
  const error = errorOf(o, tensor([t]));
  const [output, hidden] = gradients(error, [z, a]);
  return {
    ...{ a: vector(a), h: vector(h), z: vector(z), o: vector(o), error: error.item() },
    deltas: { output: vector(output), hidden: vector(hidden) },
  };
}

/** E and its gradient over all patterns, op by op. */
export function meanGradient(model: Network, inputs: Matrix, targets: Matrix) {
  const { o } = activations(model, tensor(inputs));
  const error = errorOf(o, tensor(targets));
  const { hidden, output } = model;
  const [W, b, V, c] = gradients(error, [hidden.weight, hidden.bias!, output.weight, output.bias!]);
  return { error: error.item(), gradient: { W: matrix(W), b: vector(b), V: matrix(V), c: vector(c) } };
}

/** The training as Lockstep runs it: traced once, compiled, all patterns in each step. */
export const definition = (task: Task, { hidden, lr, epochs, seed }: Options) =>
  defineTraining({
    seed,
    batch: task.inputs.length,
    shards: 1,
    shuffle: false,
    epochs,
    data: () => data.arrays({ x: task.inputs, t: task.targets }),
    model: () => network(task, hidden),
    loss: (model, { x, t }) => errorOf(activations(model, x).o, t),
    optimizer: optim.sgd({ lr }),
  });

export const weightsOf = ({ hidden, output }: Network): Weights => ({
  W: matrix(hidden.weight),
  b: vector(hidden.bias!),
  V: matrix(output.weight),
  c: vector(output.bias!),
});

const vector = (x: Tensor): Vector => Array.from(x.data());

function matrix(x: Tensor): Matrix {
  const [rows, columns] = x.shape as [number, number];
  const numbers = vector(x);
  return Array.from({ length: rows }, (_, r) => numbers.slice(r * columns, (r + 1) * columns));
}
