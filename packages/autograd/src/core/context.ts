/** What surrounds a call: are we tracing, recording, training; where in the model; which random stream. */
import type { Trace } from './graph.ts';
import { OpError } from './shape.ts';
import type { StateBuffer, Tensor } from './tensor.ts';

/** Keys of the counter-based generator (see the `random` instruction). */
export interface Generator {
  readonly seed: readonly [number, number];
  readonly step: number;
  readonly shard: number;
  nextStream: number;
}

/** Arithmetic of eager execution: float64 is a slow reference for checking gradients, not for training. */
export type Precision = 'float32' | 'float64';

interface Context {
  readonly trace: Trace | undefined;
  readonly recording: boolean;
  readonly training: boolean;
  readonly scope: string;
  readonly generator: Generator;
  readonly precision: Precision;
  /** Sees every result of eager execution: the label of its op, its inputs and itself. */
  readonly observer: Observer | undefined;
  /** Takes what `updateBuffer` is told. */
  readonly statistics: Map<StateBuffer, Tensor> | undefined;
}

export type Observer = (label: string, inputs: readonly Tensor[], output: Tensor) => void;

/** Splits a seed, an integer from 0 to 2⁵³ − 1, into the two words of a generator's key. */
export function seedWords(seed: number): [number, number] {
  if (!Number.isSafeInteger(seed) || seed < 0) {
    throw new RangeError(`seed: got ${seed}, expected an integer from 0 to 2^53 - 1`);
  }
  return [seed >>> 0, Math.floor(seed / 2 ** 32)];
}

let current: Context = {
  trace: undefined,
  recording: true,
  training: true,
  scope: '',
  generator: { seed: [0, 0], step: 0, shard: 0, nextStream: 0 },
  precision: 'float32',
  observer: undefined,
  statistics: undefined,
};

function within<T>(change: Partial<Context>, body: () => T): T {
  const outer = current;
  current = { ...outer, ...change };
  try {
    return body();
  } finally {
    current = outer;
  }
}

export const context = (): Context => current;

/** Runs `body` while every op goes into `trace` instead of being executed. */
export const withTrace = <T>(trace: Trace, body: () => T): T => within({ trace }, body);

/** Runs `body` without recording for gradients. */
export const noGrad = <T>(body: () => T): T => within({ recording: false }, body);

export const withGrad = <T>(body: () => T): T => within({ recording: true }, body);

/** Runs `body` with dropout and the like switched on or off. */
export const withTraining = <T>(training: boolean, body: () => T): T => within({ training }, body);

export const isTraining = (): boolean => current.training;

/** Names the part of the model that `body` belongs to; shows in messages and profiles. */
export const withScope = <T>(name: string, body: () => T): T =>
  within({ scope: current.scope ? `${current.scope}.${name}` : name }, body);

/** Like `withScope`, but replaces the whole path. */
export const atScope = <T>(scope: string, body: () => T): T => within({ scope }, body);

/** What random numbers are keyed by; equal keys give equal numbers. */
export interface RandomKey {
  /** A whole number from 0 to 2⁵³ − 1. */
  readonly seed: number;
  /** Number of the step. Default 0. */
  readonly step?: number;
  /** Number of the shard, or of the row in predictions. Default 0. */
  readonly shard?: number;
  /** Number of the first random stream: each call of a random function takes the next one. Default 0. */
  readonly stream?: number;
}

/** Runs `body` with random numbers of its own, keyed as a training step keys them. Throws RangeError and OpError. */
export function withRandom<T>(key: RandomKey, body: () => T): T {
  if (typeof key !== 'object' || key === null) {
    throw new OpError('withRandom', `got ${String(key)}, expected withRandom({ seed: 1 }, () => …)`);
  }
  const { seed, step = 0, shard = 0, stream = 0 } = key;
  for (const [what, value] of Object.entries({ step, shard, stream })) {
    if (Number.isInteger(value) && value >= 0 && value < 2 ** 32) continue;
    throw new OpError('withRandom', `got ${what} ${value}, expected a whole number from 0 to 4294967295`);
  }
  return within({ generator: { seed: seedWords(seed), step, shard, nextStream: stream } }, body);
}

export const withPrecision = <T>(precision: Precision, body: () => T): T => within({ precision }, body);

/** Runs `body` while `statistics` takes what `updateBuffer` is told, instead of the buffers themselves. */
export const withStatistics = <T>(statistics: Map<StateBuffer, Tensor>, body: () => T): T =>
  within({ statistics }, body);

/** Runs `body` while `observer` sees what every op gives, in order. For eager execution. */
export const withObserver = <T>(observer: Observer, body: () => T): T => within({ observer }, body);
