/** Three predictors of prices, measured on houses that none has seen: the mean, a line, a hidden layer. See README.md. */
import { type Module, nn, tensor, train } from 'lockstep';
import { readOptions } from '../options.ts';
import network, { houses, price, standardized } from './lockstep.config.ts';

const options = readOptions({ hidden: 32, epochs: 300, seed: 1 });
const actual = Array.from(houses.validation!.columns.y.data);
const euros = (value: number): string => `${Math.round(value).toLocaleString('en')} EUR`;
const show = (...cells: string[]): void =>
  console.log(cells.map((cell, i) => (i === 0 ? cell.padEnd(26) : cell.padStart(16))).join(''));

console.log(`${houses.length} houses to train on, ${actual.length} held back\n`);
show('predictor', 'mean error', 'error / mean', 'epochs', 'best epoch');
const naive = meanError(actual.map(() => price.mean));
show('the mean price', euros(naive), '1.000');
await learn('a line', () => nn.sequential(nn.linear(5, 1)));
const predictions = await learn(`a hidden layer of ${options.hidden}`, () =>
  nn.sequential(nn.linear(5, options.hidden), nn.relu(), nn.linear(options.hidden, 1)),
);

console.log('\nthe first houses held back');
show('', 'predicted', 'paid');
for (const row of [0, 1, 2, 3, 4]) show('', euros(predictions[row]!), euros(actual[row]!));

/** Trains a model, prints its error, and gives its predictions for the houses held back, in euros. */
async function learn(label: string, model: () => Module): Promise<number[]> {
  let best = 0;
  const result = await train(
    { ...network, model, epochs: options.epochs, seed: options.seed },
    {
      on: {
        epoch: (event) => {
          if (event.best) best = event.epoch;
        },
      },
    },
  );
  const { x } = standardized.validation!.columns;
  // Outside of training a model is a function: here of all rows at once, eagerly.
  const outputs = result.model(tensor(Float32Array.from(x.data), { shape: [actual.length, ...x.shape] }));
  const predictions = Array.from(outputs.data(), (y) => y * price.deviation + price.mean);
  const error = meanError(predictions);
  show(label, euros(error), (error / naive).toFixed(3), String(result.epoch), String(best));
  return predictions;
}

function meanError(predictions: readonly number[]): number {
  return (
    predictions.reduce((sum, value, row) => sum + Math.abs(value - actual[row]!), 0) / predictions.length
  );
}
