/** Wrong options, models or weights: found where they are given, before anything runs. */

import { expectDType, expectTensors, formatSpec, OpError, type Spec, sameShape } from '@lockstep/autograd';

/** The message says who complains, what it got, what it expected, and the way out. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
  readonly code = 'LOCKSTEP_CONFIG';

  constructor(who: string, problem: string) {
    super(`${who}: ${problem}`);
  }
}

/** What a number may be; bounds are included unless the name says otherwise. */
export interface NumberRange {
  readonly min?: number;
  readonly max?: number;
  readonly above?: number;
  readonly below?: number;
  readonly integer?: boolean;
}

const describeRange = ({ min, max, above, below, integer }: NumberRange): string =>
  [
    integer ? 'an integer' : 'a finite number',
    min === undefined ? '' : ` >= ${min}`,
    above === undefined ? '' : ` > ${above}`,
    min === undefined && above === undefined ? '' : max === undefined && below === undefined ? '' : ' and',
    max === undefined ? '' : ` <= ${max}`,
    below === undefined ? '' : ` < ${below}`,
  ].join('');

/** The number itself if it is finite and in range. Throws ConfigError. */
export function expectNumber(who: string, what: string, value: unknown, range: NumberRange = {}): number {
  const { min = -Infinity, max = Infinity, above = -Infinity, below = Infinity, integer = false } = range;
  const fits =
    typeof value === 'number' &&
    Number.isFinite(value) &&
    value >= min &&
    value <= max &&
    value > above &&
    value < below &&
    (!integer || Number.isSafeInteger(value));
  if (!fits) {
    throw new ConfigError(who, `got ${what} = ${formatValue(value)}, expected ${describeRange(range)}`);
  }
  return value;
}

/** An integer >= 1 for both axes, or one for each: both of them. Throws ConfigError. */
export function expectPair(who: string, what: string, value: unknown): readonly [number, number] {
  const [first, second, ...more] = Array.isArray(value) ? (value as unknown[]) : [value, value];
  if (more.length > 0) {
    throw new ConfigError(
      who,
      `got ${more.length + 2} numbers for ${what}, expected one, or one for each axis`,
    );
  }
  const range = { min: 1, integer: true };
  return [expectNumber(who, what, first, range), expectNumber(who, what, second, range)];
}

/** An options object with no key but the known ones (a misspelt option would silently do nothing). Throws ConfigError. */
export function expectOptions(who: string, options: unknown, known: readonly string[]): void {
  if (typeof options !== 'object' || options === null || Array.isArray(options)) {
    throw new ConfigError(
      who,
      `got ${formatValue(options)}, expected an object of options: ${known.join(', ')}`,
    );
  }
  const unknown = Object.keys(options).filter((key) => !known.includes(key));
  if (unknown.length > 0) {
    throw new ConfigError(who, `got unknown option ${unknown.join(', ')}, expected ${known.join(', ')}`);
  }
}

/** A value in a message: short, and never the whole of an object. */
export function formatValue(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value);
  if (typeof value === 'function') return `function ${value.name || '(anonymous)'}`;
  if (typeof value === 'object' && value !== null) return value.constructor?.name ?? 'an object';
  return String(value);
}

/** Broadcasting [n, 1] with [n] would silently compare all pairs. Throws OpError. */
export function expectSameShape(who: string, prediction: Spec, target: Spec): void {
  expectTensors(who, prediction, target);
  if (!sameShape(prediction.shape, target.shape)) {
    throw new OpError(
      who,
      `got prediction ${formatSpec(prediction)} and target ${formatSpec(target)}, expected equal shapes; reshape one of them`,
    );
  }
}

/** Two f32 tensors of one shape. Throws OpError. */
export function expectSameFloats(who: string, prediction: Spec, target: Spec): void {
  expectSameShape(who, prediction, target);
  expectDType(who, 'prediction', prediction, 'f32');
  expectDType(who, 'target', target, 'f32');
}

/** One i32 class number per row of scores [..., classes]. Throws OpError. */
export function expectLabels(who: string, scores: Spec, labels: Spec): void {
  expectTensors(who, scores, labels);
  expectDType(who, 'logits', scores, 'f32');
  const rows = scores.shape.slice(0, -1);
  if (
    labels.shape.length !== rows.length ||
    labels.dtype !== 'i32' ||
    !rows.every((n, i) => n === labels.shape[i])
  ) {
    throw new OpError(
      who,
      `got logits ${formatSpec(scores)} and labels ${formatSpec(labels)}, expected logits [..., classes] and one ` +
        'i32 class number per row',
    );
  }
}
