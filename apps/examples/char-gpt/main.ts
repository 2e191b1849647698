/** Trains the GPT and lets it write. See README.md. */
import { noGrad, slice, softmax, type Tensor, tensor, train, withTraining } from 'lockstep';
import { readOptions } from '../options.ts';
import { training } from './model.ts';
import { CONTEXT, readText, toTokens } from './text.ts';

const options = readOptions({
  text: '',
  steps: 2000,
  workers: 2,
  seed: 1,
  characters: 300,
  temperature: 0.8,
  prompt: '\n',
});
const text = toTokens(readText(options.text));
const { tokenizer } = text;
tokenizer.encode(options.prompt); // throws before the training, not after it
const { steps, seed, workers } = options;

const { model, loss, validation, seconds, weightsDigest } = await train(
  { ...training(text), steps, seed },
  {
    workers,
    on: {
      step: ({ step, loss }) => {
        if (step % 100 === 0 || step === steps)
          console.log(`step ${String(step).padStart(5)}  loss ${loss.toFixed(4)}`);
      },
    },
  },
);
console.log(`\nloss ${loss.toFixed(4)}, of text not seen ${validation?.loss.toFixed(4)}`);
console.log(
  `${seconds.toFixed(1)} s for ${steps} steps on ${workers} workers, weights ${weightsDigest.slice(0, 16)}…\n`,
);
console.log(write(options.prompt, options.characters));

/** Goes on with a text: draws each next character by its probability, sharpened by the temperature. */
function write(prompt: string, count: number): string {
  let written = prompt;
  let state = seed >>> 0;
  const random = (): number => {
    // A linear congruential generator is good enough to throw a die.
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
  for (let i = 0; i < count; i++)
    written += tokenizer.vocabulary[draw(next(written.slice(-CONTEXT)), random())]!;
  return written;
}

/** Probabilities of the character after `part`. */
function next(part: string): ArrayLike<number> {
  const tokens = Int32Array.from(tokenizer.encode(part));
  const input = tensor(tokens, { shape: [1, tokens.length] });
  const logits = noGrad(() => withTraining(false, (): Tensor => model(input)));
  return softmax(slice(logits, 0, -1).mul(1 / options.temperature)).data();
}

function draw(probabilities: ArrayLike<number>, share: number): number {
  let left = share;
  for (let i = 0; i < probabilities.length; i++) {
    left -= probabilities[i]!;
    if (left < 0) return i;
  }
  return probabilities.length - 1;
}
