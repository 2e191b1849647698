/** Lockstep's side: a round is a whole run by the public API; the first tenth of its steps is not counted. */
import { arrays, column } from '@lockstep/data';
import { loss, nn, optim } from '@lockstep/nn';
import { defineTraining, train } from '@lockstep/trainer';

/**
 * @param {import('./models.mjs').Model} model
 * @param {{ workers: number, shards: number }} options
 * @returns {() => Promise<number>} measures a round: seconds per step
 */
export function lockstep({ layers, batch, steps }, { workers, shards }) {
  const [inputs = 0] = layers;
  const classes = layers.at(-1) ?? 0;
  const rows = 32 * batch;
  const data = arrays({
    image: column(
      Uint8Array.from({ length: rows * inputs }, (_, i) => Math.imul(i, 0x9e3779b1) >>> 24),
      { shape: [inputs], scale: 1 / 255 },
    ),
    label: column(
      Int32Array.from({ length: rows }, (_, i) => i % classes),
      { classes },
    ),
  });
  const warmUp = Math.floor(steps / 10);
  const definition = defineTraining({
    batch,
    shards,
    steps: steps + warmUp,
    data: () => data,
    model: () =>
      nn.sequential(
        ...layers.slice(1).flatMap((size, i) => {
          const linear = nn.linear(layers[i] ?? 0, size);
          return i === 0 ? [linear] : [nn.relu(), linear];
        }),
      ),
    loss: (model, { image, label }) => loss.crossEntropy(model(image), label),
    optimizer: optim.adam({ lr: 1e-3 }),
  });
  return async () => {
    let first = 0;
    let last = 0;
    await train(definition, {
      workers,
      on: {
        step: ({ step }) => {
          last = performance.now();
          if (step <= warmUp) first = last;
        },
      },
    });
    return (last - first) / 1000 / steps;
  };
}
