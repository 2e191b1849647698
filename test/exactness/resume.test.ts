/** A run that is ended, or left, again and again, and goes on on another machine: the same weights, losses and events. */
import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { availableVariants } from '@lockstep/kernels';
import { nn, optim, type TrainingDefinition, type TrainOptions, train } from 'lockstep';
import { afterAll, describe, expect, it } from 'vitest';
import { events, folderWith } from '../command.ts';
import { CLASSES, FEATURES, type Fields } from './data.ts';
import { classification, type DefinitionName, definitions } from './definitions.ts';
import { wide } from './wide.ts';

const variants = availableVariants();
const folder = folderWith();
afterAll(() => rmSync(folder, { recursive: true }));

type AnyDefinition = TrainingDefinition<never, Fields>;

const named: readonly DefinitionName[] = [
  'dropout, adam, a short batch',
  'three shards, adamw, warm-up and cosine',
  'thirteen shards, most of them empty in the last batch',
  'three batches for one step, clipped',
  'two batches for one step, the last of each epoch alone',
  'stopped in the middle of an epoch',
  'stopped early, back to the best weights',
  'a parameter that is not used',
  'noise on the input, noise on the weights',
];

const cases: readonly (readonly [string, AnyDefinition])[] = [
  ...named.map((name) => [name, definitions[name] as unknown as AnyDefinition] as const),
  [
    'accumulated, clipped, stopped early by a metric',
    classification({
      epochs: 9,
      optimizer: optim.adam({ lr: 0.3, clipNorm: 1 }),
      accumulate: 2,
      earlyStopping: { patience: 2, metric: 'accuracy', mode: 'max' },
    }) as unknown as AnyDefinition,
  ],
  [
    'running statistics, the best of them',
    classification({
      ...{ epochs: 6, shards: 4, dropLast: true },
      model: () =>
        nn.sequential(
          nn.linear(FEATURES, 9),
          nn.batchNorm1d(9),
          nn.relu(),
          nn.dropout(0.2),
          nn.linear(9, CLASSES),
        ),
      optimizer: optim.adam({ lr: 0.1 }),
      earlyStopping: { patience: 2 },
    }) as unknown as AnyDefinition,
  ],
  [
    'groups, an average of the weights, a rate that follows the validation',
    classification({
      epochs: 6,
      optimizer: optim.adamw({
        lr: optim.plateau(0.1, { patience: 0 }),
        average: 0.9,
        groups: [{ match: '*.bias', weightDecay: 0, lrScale: 2 }],
      }),
    }) as unknown as AnyDefinition,
  ],
  [
    'wide, accumulated, clipped, the best weights',
    wide({
      ...{ batch: 1100, epochs: 4, steps: 8, accumulate: 2 },
      optimizer: optim.adamw({ lr: 1e-3, clipNorm: 0.1, average: 0.5 }),
      earlyStopping: { patience: 1 },
    }) as unknown as AnyDefinition,
  ],
];

/** Machines take turns. */
const machine = (turn: number): Pick<TrainOptions, 'workers' | 'kernels' | 'execution'> => ({
  workers: 1 + (turn % 3),
  kernels: variants[turn % variants.length]!,
  execution: (['coalesced', 'eager', 'separate'] as const)[turn % 3]!,
});

/** What a run gives, but for its speed. */
const outcomeOf = ({
  weightsDigest,
  step,
  epoch,
  loss,
  metrics,
  validation,
}: Awaited<ReturnType<typeof train>>) => ({
  ...{ weightsDigest, step, epoch, loss, metrics, validation },
});

/** The lines of metrics.jsonl that do not depend on time, machine and checkpoints. */
const story = (out: string) =>
  events(readFileSync(join(out, 'metrics.jsonl'), 'utf8')).flatMap(
    ({ type, seconds, samplesPerSecond, ...rest }) =>
      type === 'step' || type === 'epoch' || type === 'earlyStop' ? [{ type, ...rest }] : [],
  );

describe('a run that goes on', () => {
  it.each(cases.map(([name, definition], i) => [name, definition, i] as const))(
    '%s',
    async (name, definition, turn) => {
      const whole = join(folder, `${turn} whole`);
      const expected = outcomeOf(await train(definition, { out: whole, workers: 2 }));
      const out = join(folder, `${turn}`);
      let [ended, left, resumed] = [0, 0, 0];
      for (let attempt = 0; ; attempt++) {
        const abort = new AbortController();
        const options: TrainOptions = {
          ...machine(turn + attempt),
          ...{ out, resume: true, checkpointEvery: { steps: 2 }, signal: abort.signal },
          on: {
            start: (event) => {
              if (event.resumed) resumed++;
            },
          },
        };
        // Two or three steps, then an end; every third time without being told.
        let steps = 2 + (attempt % 2);
        const iterator = train(definition, options).steps();
        let next = await iterator.next();
        for (; !next.done; next = await iterator.next()) {
          if (--steps > 0) continue;
          if (attempt % 3 === 2) break;
          abort.abort();
        }
        if (!next.done) {
          left++;
          await iterator.return?.();
        } else if (abort.signal.aborted) ended++;
        else break;
        expect(attempt, name).toBeLessThan(60);
      }
      expect(resumed).toBeGreaterThan(0);
      expect(ended + left).toBeGreaterThan(0);
      // Once more, of a run that is done: nothing is left to do.
      const again = await train(definition, { out, resume: true });
      expect(outcomeOf(again)).toEqual(expected);
      expect(story(out)).toEqual(story(whole));
      expect(readdirSync(join(out, 'checkpoints'))).toHaveLength(4);
    },
  );
});
