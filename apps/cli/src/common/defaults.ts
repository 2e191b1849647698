/** What `lockstep train` trains when there is no config: a network for handwritten digits. */
import { data, loss, metrics, nn, optim, type TrainingDefinition } from 'lockstep';

const classifier = {
  seed: 1,
  batch: 128,
  shards: 8,
  model: () => nn.sequential(nn.linear(784, 128), nn.relu(), nn.linear(128, 10)),
  loss: (model, { image, label }) => loss.crossEntropy(model(image), label),
  metrics: { accuracy: (model, { image, label }) => metrics.accuracy(model(image), label) },
} as const satisfies Partial<TrainingDefinition<ReturnType<typeof nn.sequential>, 'image' | 'label'>>;

/** The embedded digits; with a folder the MNIST files in it. */
export const defaultDefinition = (dir: string | undefined): TrainingDefinition => {
  const definition: TrainingDefinition<ReturnType<typeof nn.sequential>, 'image' | 'label'> = dir ===
  undefined
    ? {
        ...classifier,
        name: 'digits',
        epochs: 5,
        data: () => data.digits(),
        optimizer: optim.adamw({ lr: optim.cosine(1e-3) }),
      }
    : {
        ...classifier,
        name: 'mnist',
        epochs: 10,
        data: ({ dir }) => data.mnist({ dir }),
        optimizer: optim.adam({ lr: 1e-3 }),
      };
  return definition as unknown as TrainingDefinition;
};
