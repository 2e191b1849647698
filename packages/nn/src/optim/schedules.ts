/** More schedules; the plain ones and what a schedule is are in `schedule.ts`. */
import { ConfigError, expectNumber, expectOptions } from '../common/errors.ts';
import { cosPi, pow, powInteger } from '../common/exactMath.ts';
import {
  type LearningRate,
  lengthOf,
  type Schedule,
  schedule,
  toSchedule,
  type Validation,
} from './schedule.ts';

export interface MultiStepOptions {
  /** Steps at which the rate changes, rising. */
  readonly at: readonly number[];
  /** Factor of each change. Default 0.1. */
  readonly gamma?: number;
}

/** lr · γ^(how many of `at` have been reached): PyTorch's MultiStepLR, counted in optimizer steps. Throws ConfigError. */
export function multiStep(lr: number, options: MultiStepOptions): Schedule {
  const who = 'optim.multiStep';
  expectOptions(who, options, ['at', 'gamma']);
  const { at, gamma = 0.1 } = options;
  expectNumber(who, 'lr', lr, { min: 0 });
  expectNumber(who, 'gamma', gamma, { above: 0 });
  if (!Array.isArray(at)) throw new ConfigError(who, 'got no array at, expected steps such as [1000, 2000]');
  at.forEach((step: number, i) => {
    expectNumber(who, `at[${i}]`, step, { min: i === 0 ? 0 : at[i - 1], integer: true });
  });
  return schedule(
    { kind: 'multiStep', lr, at, gamma },
    (t) => lr * powInteger(gamma, at.filter((step: number) => step <= t).length),
  );
}

export interface ExponentialOptions {
  /** Factor per step, above 0. */
  readonly gamma: number;
}

/** lr · γᵗ: PyTorch's ExponentialLR, counted in optimizer steps. Throws ConfigError. */
export function exponential(lr: number, options: ExponentialOptions): Schedule {
  const who = 'optim.exponential';
  expectOptions(who, options, ['gamma']);
  const { gamma } = options;
  expectNumber(who, 'lr', lr, { min: 0 });
  expectNumber(who, 'gamma', gamma, { above: 0 });
  return schedule({ kind: 'exponential', lr, gamma }, (t) => lr * powInteger(gamma, t));
}

export interface CosineRestartsOptions {
  /** Length of the first wave in steps, an integer >= 1. */
  readonly steps: number;
  /** Each wave is so many times as long as the one before, an integer >= 1. Default 1. */
  readonly factor?: number;
  /** Where each wave ends. Default 0. */
  readonly minimum?: number;
}

/**
 * Half-waves of a cosine from lr to `minimum`, one after another (SGDR: Loshchilov and Hutter, 2017): PyTorch's
 * CosineAnnealingWarmRestarts. Throws ConfigError.
 */
export function cosineRestarts(lr: number, options: CosineRestartsOptions): Schedule {
  const who = 'optim.cosineRestarts';
  expectOptions(who, options, ['steps', 'factor', 'minimum']);
  const { factor = 1, minimum = 0 } = options;
  const steps = expectNumber(who, 'steps', options.steps, { min: 1, integer: true });
  expectNumber(who, 'lr', lr, { min: 0 });
  expectNumber(who, 'factor', factor, { min: 1, integer: true });
  expectNumber(who, 'minimum', minimum, { min: 0, max: lr });
  return schedule({ kind: 'cosineRestarts', lr, steps, factor, minimum }, (t) => {
    let length = steps;
    let place = t;
    if (factor === 1) place = t % steps;
    else for (; place >= length; length *= factor) place -= length;
    return minimum + ((lr - minimum) * (1 + cosPi(place / length))) / 2;
  });
}

export interface PolynomialOptions {
  /** Default 1: a line. */
  readonly power?: number;
  /** Where it ends. Default 0. */
  readonly minimum?: number;
  /** Steps from `lr` to `minimum`, an integer >= 1. Default: the whole run. */
  readonly steps?: number;
}

/** minimum + (lr − minimum) · (1 − t / steps)^power, then `minimum`: PyTorch's PolynomialLR. Throws ConfigError. */
export function polynomial(lr: number, options: PolynomialOptions = {}): Schedule {
  const who = 'optim.polynomial';
  expectOptions(who, options, ['power', 'minimum', 'steps']);
  const { power = 1, minimum = 0, steps } = options;
  expectNumber(who, 'lr', lr, { min: 0 });
  expectNumber(who, 'power', power, { above: 0 });
  expectNumber(who, 'minimum', minimum, { min: 0, max: lr });
  if (steps !== undefined) expectNumber(who, 'steps', steps, { min: 1, integer: true });
  return schedule({ kind: 'polynomial', lr, power, minimum, steps: steps ?? null }, (t, totalSteps) => {
    const end = lengthOf(who, steps, totalSteps);
    return t >= end ? minimum : minimum + (lr - minimum) * pow(1 - t / end, power);
  });
}

export interface OneCycleOptions {
  /** Length of the cycle, an integer >= 1. Default: the whole run. */
  readonly steps?: number;
  /** Share of the cycle in which the rate rises, above 0 and below 1. Default 0.3. */
  readonly rise?: number;
  /** It begins at lr / start. Default 25. */
  readonly start?: number;
  /** It ends at lr / start / end. Default 1e4. */
  readonly end?: number;
  /** Shape of both ways. Default `cosine`. */
  readonly shape?: 'cosine' | 'linear';
}

/** Up to lr and down to almost nothing (Smith and Topin, 2018): PyTorch's OneCycleLR in two phases. Throws ConfigError. */
export function oneCycle(lr: number, options: OneCycleOptions = {}): Schedule {
  const who = 'optim.oneCycle';
  expectOptions(who, options, ['steps', 'rise', 'start', 'end', 'shape']);
  const { steps, rise = 0.3, start = 25, end = 1e4, shape = 'cosine' } = options;
  expectNumber(who, 'lr', lr, { min: 0 });
  if (steps !== undefined) expectNumber(who, 'steps', steps, { min: 1, integer: true });
  expectNumber(who, 'rise', rise, { above: 0, below: 1 });
  expectNumber(who, 'start', start, { above: 0 });
  expectNumber(who, 'end', end, { above: 0 });
  if (shape !== 'cosine' && shape !== 'linear') {
    throw new ConfigError(who, `got shape = ${JSON.stringify(shape)}, expected 'cosine' or 'linear'`);
  }
  const between = (from: number, to: number, share: number): number =>
    shape === 'linear' ? from + (to - from) * share : to + ((from - to) / 2) * (1 + cosPi(share));
  return schedule(
    { kind: 'oneCycle', lr, steps: steps ?? null, rise, start, end, shape },
    (t, totalSteps) => {
      const length = lengthOf(who, steps, totalSteps);
      const top = rise * length - 1;
      const first = lr / start;
      const last = first / end;
      if (t < top) return between(first, lr, t / top);
      return t >= length - 1 ? last : between(lr, last, (t - top) / (length - 1 - top));
    },
  );
}

export interface PlateauOptions {
  /** What to watch on the validation part: `loss` (default) or one of the metrics. */
  readonly metric?: string;
  /** Which way is better. Default `min`. */
  readonly mode?: 'min' | 'max';
  /** Factor of each reduction, above 0 and below 1. Default 0.1. */
  readonly factor?: number;
  /** Validations without improvement that are borne; the next one reduces. Default 10. */
  readonly patience?: number;
  /** Smaller relative changes are no improvement. Default 1e-4. */
  readonly threshold?: number;
  /** Validations after a reduction that do not count. Default 0. */
  readonly cooldown?: number;
  /** Not below this. Default 0. */
  readonly minimum?: number;
}

/**
 * `lr` (a number or a schedule) times `factor` for each time that the validation did not improve: PyTorch's
 * ReduceLROnPlateau, fed by the validation after each epoch. Throws ConfigError.
 */
export function plateau(lr: LearningRate, options: PlateauOptions = {}): Schedule {
  const who = 'optim.plateau';
  expectOptions(who, options, ['metric', 'mode', 'factor', 'patience', 'threshold', 'cooldown', 'minimum']);
  const { metric = 'loss', mode = 'min', factor = 0.1, patience = 10 } = options;
  const { threshold = 1e-4, cooldown = 0, minimum = 0 } = options;
  const base = toSchedule(who, lr);
  if (mode !== 'min' && mode !== 'max') {
    throw new ConfigError(who, `got mode = ${JSON.stringify(mode)}, expected 'min' or 'max'`);
  }
  expectNumber(who, 'factor', factor, { above: 0, below: 1 });
  expectNumber(who, 'patience', patience, { min: 0, integer: true });
  expectNumber(who, 'threshold', threshold, { min: 0 });
  expectNumber(who, 'cooldown', cooldown, { min: 0, integer: true });
  expectNumber(who, 'minimum', minimum, { min: 0 });
  const improves = (value: number, best: number): boolean =>
    mode === 'min' ? value < best * (1 - threshold) : value > best * (1 + threshold);
  const reductions = (validations: readonly Validation[]): number => {
    let best = mode === 'min' ? Infinity : -Infinity;
    let [bad, rest, count] = [0, 0, 0];
    for (const validation of validations) {
      const value = metric === 'loss' ? validation.loss : validation.metrics[metric]!;
      if (improves(value, best)) [best, bad] = [value, 0];
      else bad++;
      if (rest > 0) [rest, bad] = [rest - 1, 0];
      if (bad > patience) [bad, rest, count] = [0, cooldown, count + 1];
    }
    return count;
  };
  const config = { kind: 'plateau', metric, mode, factor, patience, threshold, cooldown, minimum };
  return schedule(
    { ...config, lr: base.config },
    (t, totalSteps, validations) => {
      const rate = base(t, totalSteps, validations);
      const count = reductions(validations);
      return count === 0 ? rate : Math.max(rate * powInteger(factor, count), Math.min(rate, minimum));
    },
    metric,
  );
}

/** A schedule and for how many steps it holds; the last one goes on to the end of the run. */
export interface Stretch {
  readonly lr: LearningRate;
  readonly steps?: number;
}

/**
 * One schedule after another, each as if the run began with it and had its steps: PyTorch's SequentialLR. Throws
 * ConfigError.
 */
export function sequence(...stretches: readonly Stretch[]): Schedule {
  const who = 'optim.sequence';
  if (stretches.length === 0) throw new ConfigError(who, 'got nothing, expected { lr, steps }, …, { lr }');
  const parts = stretches.map((stretch, i) => {
    const place = `${who}, part ${i + 1}`;
    expectOptions(place, stretch, ['lr', 'steps']);
    const isLast = i === stretches.length - 1;
    if (!isLast || stretch.steps !== undefined) {
      expectNumber(place, 'steps', stretch.steps, { min: 1, integer: true });
    }
    return { schedule: toSchedule(place, stretch.lr), steps: stretch.steps ?? Infinity };
  });
  const watches = parts.find((part) => part.schedule.watches !== undefined)?.schedule.watches;
  return schedule(
    {
      kind: 'sequence',
      parts: parts.map((part, i) => ({ lr: part.schedule.config, steps: stretches[i]!.steps ?? null })),
    },
    (t, totalSteps, validations) => {
      let began = 0;
      for (const part of parts.slice(0, -1)) {
        if (t < began + part.steps) return part.schedule(t - began, part.steps, validations);
        began += part.steps;
      }
      const last = parts.at(-1)!;
      const length = Math.min(last.steps, Math.max(totalSteps - began, 1));
      return last.schedule(t - began, length, validations);
    },
    watches,
  );
}
