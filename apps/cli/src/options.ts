/** Values of options. Commander puts the option's name before each message. */
import { InvalidArgumentError } from 'commander';

/** A parser of whole numbers from `min` on. Throws InvalidArgumentError. */
export const wholeNumber =
  (min: number) =>
  (text: string): number => {
    const value = Number(text);
    if (/^[+-]?\d+$/.test(text) && Number.isSafeInteger(value) && value >= min) return value;
    throw new InvalidArgumentError(`Expected a whole number of at least ${min}.`);
  };

/** 500: optimizer steps; 30s: seconds. Throws InvalidArgumentError. */
export const interval = (text: string): { readonly steps: number } | { readonly seconds: number } => {
  const [, digits, unit] = /^(\d+)(s?)$/.exec(text) ?? [];
  const value = Number(digits);
  if (Number.isSafeInteger(value) && value >= 1) return unit ? { seconds: value } : { steps: value };
  throw new InvalidArgumentError('Expected steps (as 500) or seconds (as 30s), at least 1.');
};

export const workerCount = (text: string): number | 'auto' => {
  if (text === 'auto') return 'auto';
  const value = Number(text);
  if (/^\d+$/.test(text) && value >= 1 && value <= 1024) return value;
  throw new InvalidArgumentError('Expected auto (one per core) or a whole number from 1 to 1024.');
};

/** Rising numbers of workers, as 1,2,4. */
export const workerList = (text: string): number[] => {
  const counts = [...new Set(text.split(',').map((part) => (/^\d+$/.test(part) ? Number(part) : 0)))];
  if (counts.every((count) => count >= 1 && count <= 1024)) return counts.sort((a, b) => a - b);
  throw new InvalidArgumentError('Expected whole numbers from 1 to 1024 with commas between, as 1,2,4.');
};

export const positiveNumber = (text: string): number => {
  const value = Number(text);
  if (/^\d+(\.\d+)?$/.test(text) && value > 0) return value;
  throw new InvalidArgumentError('Expected a number above 0.');
};
