/** Learning rates over time: plain functions of the optimizer's step, computed in double on the main thread. */
import { ConfigError, expectNumber, expectOptions, formatValue } from '../common/errors.ts';
import { cosPi, powInteger } from '../common/exactMath.ts';

/** What JSON can hold: goes into the definition of a run. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

/** What the validation part gave in the course of a run. */
export interface Validation {
  /** Optimizer steps before it. */
  readonly step: number;
  readonly loss: number;
  readonly metrics: Readonly<Record<string, number>>;
}

/**
 * The learning rate at a step (0-based, counted in optimizer steps) of a run of `totalSteps`, after the given
 * validations.
 */
export type ScheduleFunction = (
  step: number,
  totalSteps: number,
  validations?: readonly Validation[],
) => number;

/** A schedule that can tell what it is. */
export interface Schedule extends ScheduleFunction {
  readonly config: Json;
  /** What of the validations it looks at: `loss` or the name of a metric. */
  readonly watches?: string;
}

/** Wherever a learning rate is expected: a number, one of the schedules here, or a function of your own. */
export type LearningRate = number | ScheduleFunction;

type FullScheduleFunction = (step: number, totalSteps: number, validations: readonly Validation[]) => number;

/** A schedule from what it is and what it gives. */
export function schedule(config: Json, at: FullScheduleFunction, watches?: string): Schedule {
  const call: ScheduleFunction = (step, totalSteps, validations = []) => at(step, totalSteps, validations);
  return Object.assign(call, { config, ...(watches !== undefined && { watches }) });
}

const isSchedule = (value: ScheduleFunction): value is Schedule => 'config' in value;

/** A schedule from whatever stands for one. The definition of a run holds a function of your own by its source text. */
export function toSchedule(who: string, lr: LearningRate): Schedule {
  if (typeof lr === 'number') {
    expectNumber(who, 'lr', lr, { min: 0 });
    return schedule(lr, () => lr);
  }
  if (typeof lr !== 'function') {
    throw new ConfigError(
      who,
      `got lr = ${formatValue(lr)}, expected a number, a schedule such as optim.cosine(1e-3), or a function of the step`,
    );
  }
  return isSchedule(lr) ? lr : schedule({ kind: 'custom', source: String(lr) }, lr);
}

/** The same learning rate always. */
export const constant = (lr: number): Schedule => toSchedule('optim.constant', lr);

export interface StepOptions {
  /** Steps between two changes, an integer >= 1. */
  readonly every: number;
  /** Factor of each change. Default 0.1. */
  readonly gamma?: number;
}

/** lr · γ^⌊step / every⌋: PyTorch's StepLR, counted in optimizer steps. Throws ConfigError. */
export function step(lr: number, options: StepOptions): Schedule {
  const who = 'optim.step';
  expectOptions(who, options, ['every', 'gamma']);
  const { every, gamma = 0.1 } = options;
  expectNumber(who, 'lr', lr, { min: 0 });
  expectNumber(who, 'every', every, { min: 1, integer: true });
  expectNumber(who, 'gamma', gamma, { above: 0 });
  return schedule({ kind: 'step', lr, every, gamma }, (t) => lr * powInteger(gamma, Math.floor(t / every)));
}

/** The length of a schedule: its own, or that of the run. Throws ConfigError. */
export function lengthOf(who: string, steps: number | undefined, totalSteps: number): number {
  const length = steps ?? totalSteps;
  if (Number.isFinite(length)) return length;
  throw new ConfigError(
    who,
    'the run has no fixed number of steps; pass { steps } for the length of the wave',
  );
}

export interface CosineOptions {
  /** Where it ends. Default 0. */
  readonly minimum?: number;
  /** Steps from `lr` to `minimum`, an integer >= 1. Default: the whole run. */
  readonly steps?: number;
}

/**
 * minimum + (lr − minimum) · (1 + cos(π · step / steps)) / 2, then `minimum`: one half-wave of SGDR (Loshchilov and
 * Hutter, 2017), PyTorch's CosineAnnealingLR with T_max = steps. Throws ConfigError.
 */
export function cosine(lr: number, options: CosineOptions = {}): Schedule {
  const who = 'optim.cosine';
  expectOptions(who, options, ['minimum', 'steps']);
  const { minimum = 0, steps } = options;
  expectNumber(who, 'lr', lr, { min: 0 });
  expectNumber(who, 'minimum', minimum, { min: 0, max: lr });
  if (steps !== undefined) expectNumber(who, 'steps', steps, { min: 1, integer: true });
  return schedule({ kind: 'cosine', lr, minimum, steps: steps ?? null }, (t, totalSteps) => {
    const end = lengthOf(who, steps, totalSteps);
    return t >= end ? minimum : minimum + ((lr - minimum) * (1 + cosPi(t / end))) / 2;
  });
}

export interface WarmupOptions {
  /** Length of the warm-up, an integer >= 1. */
  readonly steps: number;
  /** Factor of the first step, above 0 to 1. Default 1 / (steps + 1), so that no step is lost on a rate of 0. */
  readonly start?: number;
}

/**
 * Grows linearly from `start` times the first rate of `after`, then follows `after` as if the run began there: over
 * the remaining steps. PyTorch's SequentialLR of LinearLR(start_factor, total_iters = steps) and `after`. Throws
 * ConfigError.
 */
export function warmup(after: LearningRate, options: WarmupOptions): Schedule {
  const who = 'optim.warmup';
  expectOptions(who, options, ['steps', 'start']);
  const steps = expectNumber(who, 'steps', options.steps, { min: 1, integer: true });
  const start = expectNumber(who, 'start', options.start ?? 1 / (steps + 1), { above: 0, max: 1 });
  const rest = toSchedule(who, after);
  return schedule(
    { kind: 'warmup', steps, start, after: rest.config },
    (t, totalSteps, validations) => {
      const remaining = Math.max(totalSteps - steps, 1);
      if (t >= steps) return rest(t - steps, remaining, validations);
      return rest(0, remaining, validations) * (start + ((1 - start) * t) / steps);
    },
    rest.watches,
  );
}
