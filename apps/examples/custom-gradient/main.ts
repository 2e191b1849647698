/** Gradients of your own: binary activations that learn, and outliers that do not pull. See README.md. */
import { grad, sign, sum, type Tensor, tensor } from 'lockstep';
import { readOptions } from '../options.ts';
import { trainBinary } from './binary.ts';
import { clipGradient, straightThroughSign } from './gradients.ts';
import { fitLine } from './outliers.ts';

const options = readOptions({ hidden: 32, epochs: 5, seed: 1 });

console.log('values and gradients\n');
const x = tensor([-2, -0.5, 0.25, 1.5]);
const slope = (f: (x: Tensor) => Tensor): Tensor => grad((x: Tensor) => sum(f(x)))(x)[0];
const numbers = (label: string, y: Tensor): void =>
  console.log(label.padEnd(38) + Array.from(y.data(), (value) => String(value).padStart(7)).join(''));
numbers('x', x);
numbers('sign(x)', sign(x));
numbers('  its gradient', slope(sign));
numbers('straightThroughSign(x)', straightThroughSign(x));
numbers('  its gradient', slope(straightThroughSign));
numbers('clipGradient(1)(x)²', clipGradient(1)(x).square());
numbers(
  '  its gradient, 2x cut at 1',
  slope((x) => clipGradient(1)(x).square()),
);

const { hidden } = options;
console.log(`\na 784-${hidden}-${hidden}-10 network on digits, hidden units −1 or 1\n`);
console.log('activation                change of 0.weight   validation accuracy');
for (const [label, activation] of Object.entries({ sign, straightThroughSign })) {
  const { change, accuracy } = await trainBinary(activation, options);
  console.log(
    `${label.padEnd(20)}${change.toFixed(4).padStart(24)}${`${(100 * accuracy).toFixed(2)} %`.padStart(22)}`,
  );
}

console.log('\nthe line y = 2x − 1 through 500 points, of which 50 are 20 too high\n');
console.log('loss                                   slope   intercept');
for (const [label, { weight, bias }] of Object.entries(await fitLine(options.seed))) {
  console.log(`${label.padEnd(34)}${weight.toFixed(4).padStart(10)}${bias.toFixed(4).padStart(12)}`);
}
