/** A network with binary activations: what is multiplied in its hidden layers are only signs. */
import { data, defineTraining, loss, metrics, nn, optim, stateOf, type Tensor, train } from 'lockstep';

interface Options {
  readonly hidden: number;
  readonly epochs: number;
  readonly seed: number;
}

/**
 * Trains on the digits with `activation` after both hidden layers. `change` is the largest change of a weight of the
 * first layer: 0 where no gradient gets there.
 */
export async function trainBinary(
  activation: (x: Tensor) => Tensor,
  { hidden, epochs, seed }: Options,
): Promise<{ change: number; accuracy: number }> {
  let initial = stateOf({});
  const definition = defineTraining({
    seed,
    batch: 128,
    epochs,
    data: () => data.digits(),
    model: () => {
      const model = nn.sequential(
        ...[nn.linear(784, hidden), activation],
        ...[nn.linear(hidden, hidden), activation],
        nn.linear(hidden, 10),
      );
      initial = stateOf(model);
      return model;
    },
    loss: (model, { image, label }) => loss.crossEntropy(model(image), label),
    metrics: { accuracy: (model, { image, label }) => metrics.accuracy(model(image), label) },
    optimizer: optim.adam({ lr: optim.cosine(1e-2) }),
  });
  const { validation, weights } = await train(definition);
  const [before, after] = [initial, weights].map((state) => state.get('0.weight')!.data);
  const changes = after!.map((weight, i) => Math.abs(weight - before![i]!));
  return { change: Math.max(...changes), accuracy: validation!.metrics.accuracy! };
}
