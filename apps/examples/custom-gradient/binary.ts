/** A network with binary activations: what is multiplied in its hidden layers are only signs. */
import {
  data,
  defineTraining,
  loss,
  type Module,
  metrics,
  nn,
  optim,
  stateOf,
  type Tensor,
  train,
} from 'lockstep';

interface Options {
  readonly hidden: number;
  readonly epochs: number;
  readonly seed: number;
}

/** Trains on the digits with `activation` after both hidden layers. */
export const binary = (activation: (x: Tensor) => Tensor, { hidden, epochs, seed }: Options) =>
  defineTraining({
    name: 'custom-gradient',
    seed,
    batch: 128,
    epochs,
    data: () => data.digits(),
    model: (): Module =>
      nn.sequential(
        ...[nn.linear(784, hidden), activation],
        ...[nn.linear(hidden, hidden), activation],
        nn.linear(hidden, 10),
      ),
    loss: (model, { image, label }) => loss.crossEntropy(model(image), label),
    metrics: { accuracy: (model, { image, label }) => metrics.accuracy(model(image), label) },
    optimizer: optim.adam({ lr: optim.cosine(1e-2) }),
  });

/** `change` is the largest change of a weight of the first layer: 0 where no gradient gets there. */
export async function trainBinary(
  activation: (x: Tensor) => Tensor,
  options: Options,
): Promise<{ change: number; accuracy: number }> {
  const definition = binary(activation, options);
  let initial = stateOf({});
  const model = () => {
    const made = definition.model();
    initial = stateOf(made);
    return made;
  };
  const { validation, weights } = await train({ ...definition, model });
  const [before, after] = [initial, weights].map((state) => state.get('0.weight')!.data);
  const changes = after!.map((weight, i) => Math.abs(weight - before![i]!));
  return { change: Math.max(...changes), accuracy: validation!.metrics.accuracy! };
}
