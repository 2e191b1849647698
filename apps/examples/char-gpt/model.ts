/** The network, and how it is trained on a text. */
import {
  defineTraining,
  init,
  loss,
  type Module,
  matmul,
  nn,
  optim,
  slice,
  softmax,
  type Tensor,
} from 'lockstep';
import { CONTEXT, type Text } from './text.ts';

/** 4 blocks of 4 heads, 128 wide: 0.8 million weights. */
export function gpt(tokens: number, width = 128, layers = 4, heads = 4): Module {
  const embedding = nn.embedding(tokens, width, { weightInit: init.normal({ std: 0.02 }) });
  const positions = nn.learnedPositions(CONTEXT, width);
  const blocks = nn.sequential(
    ...Array.from({ length: layers }, () => nn.transformerBlock(width, heads, { causal: true, bias: false })),
  );
  const norm = nn.layerNorm(width, { bias: false });
  // What reads a character also writes it: one weight for both.
  return nn.module('gpt', { embedding, positions, blocks, norm }, (input: Tensor) =>
    matmul(norm(blocks(positions(embedding(input)))), embedding.weight, { transB: true }),
  );
}

export const training = (text: Text) =>
  defineTraining({
    name: 'char-gpt',
    seed: 1,
    batch: 12,
    shards: 4, // three windows each: even halves for two workers, quarters for four
    steps: 2000,
    dropLast: true,
    data: text.dataset,
    model: () => gpt(text.tokenizer.size),
    // [rows, 64, characters] and [rows, 64]: every place of a window predicts the character after it.
    loss: (model, { x, y }) => loss.crossEntropy(model(x), y),
    // `lockstep predict` gives the probabilities of the character after a text.
    predict: (model, { x }) => softmax(slice(model(x), null, -1)),
    optimizer: optim.adamw({
      lr: optim.warmup(optim.cosine(1e-3, { minimum: 1e-4 }), { steps: 100 }),
      betas: [0.9, 0.99],
      weightDecay: 0.1,
      clipNorm: 1,
    }),
  });
