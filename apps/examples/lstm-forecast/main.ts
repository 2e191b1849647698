/** The LSTM's forecast against the naive one, on weeks that it has not seen. See README.md. */
import { train } from 'lockstep';
import { readOptions } from '../options.ts';
import definition, { forecaster, series } from './lockstep.config.ts';

const { epochs, hidden, workers, seed } = readOptions({ epochs: 6, hidden: 64, workers: 2, seed: 1 });
const kilowatts = (value: number): string => `${value.toFixed(4)} kW`;

const { validation, seconds, weightsDigest } = await train(
  { ...definition, model: () => forecaster(hidden), epochs, seed },
  {
    workers,
    on: {
      epoch: ({ epoch, validation }) =>
        console.log(`epoch ${epoch}  mean error ${kilowatts(validation!.metrics.mae!)}`),
    },
  },
);
const error = validation!.metrics.mae!;
console.log(`\nforecast a day ahead, mean error`);
console.log(`as today at this hour   ${kilowatts(series.naiveError)}`);
console.log(`an LSTM of ${String(hidden).padEnd(12)} ${kilowatts(error)}`);
console.log(`share of the naive error   ${(error / series.naiveError).toFixed(3)}`);
console.log(`\n${seconds.toFixed(1)} s on ${workers} workers, weights ${weightsDigest.slice(0, 16)}…`);
