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

/** A forgotten value would take the next option for it. Throws InvalidArgumentError. */
export const path = (text: string): string => {
  if (!text.startsWith('--')) return text;
  throw new InvalidArgumentError('Expected a path; write ./ before one that begins with --.');
};

/** Throws InvalidArgumentError. */
export const portNumber = (text: string): number => {
  if (/^\d{1,5}$/.test(text) && Number(text) < 65_536) return Number(text);
  throw new InvalidArgumentError('Expected a whole number from 0 (any that is free) to 65535.');
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

/** A parser of rising whole numbers, as 1,2,4. Throws InvalidArgumentError. */
export const countList =
  (most: number) =>
  (text: string): number[] => {
    const counts = [...new Set(text.split(',').map((part) => (/^\d+$/.test(part) ? Number(part) : 0)))];
    if (counts.every((count) => count >= 1 && count <= most)) return counts.sort((a, b) => a - b);
    throw new InvalidArgumentError(`Expected whole numbers from 1 to ${most} with commas between, as 1,2,4.`);
  };

export const workerList = countList(1024);

export const positiveNumber = (text: string): number => {
  const value = Number(text);
  if (/^\d+(\.\d+)?$/.test(text) && value > 0) return value;
  throw new InvalidArgumentError('Expected a number above 0.');
};

const BITS = { k: 1e3, m: 1e6, g: 1e9 };

const bitsOf = (text: string): number | undefined => {
  const [, digits, unit] = /^(\d+(?:\.\d+)?)([kmg])(?:bit)?$/i.exec(text) ?? [];
  const value = Number(digits) * BITS[(unit?.toLowerCase() ?? 'k') as keyof typeof BITS];
  return value > 0 ? value : undefined;
};

/** 100Mbit, 2.5Gbit: bit/s. Throws InvalidArgumentError. */
export const bandwidth = (text: string): number => {
  const value = bitsOf(text);
  if (value !== undefined) return value;
  throw new InvalidArgumentError('Expected bits per second, as 100Mbit or 2.5Gbit.');
};

/** From 0 on. Throws InvalidArgumentError. */
export const atLeastZero = (text: string): number => {
  if (/^\d+(\.\d+)?$/.test(text)) return Number(text);
  throw new InvalidArgumentError('Expected a number of at least 0.');
};

/** A part of a whole, 0 to 1. Throws InvalidArgumentError. */
export const part = (text: string): number => {
  if (/^(0|1|0?\.\d+|[01]\.\d*)$/.test(text) && Number(text) <= 1) return Number(text);
  throw new InvalidArgumentError('Expected a part from 0 to 1, as 0.02.');
};

/** 2x10Mbit: so many nodes with such links. Throws InvalidArgumentError. */
export const slowLinks = (text: string): { readonly count: number; readonly bandwidth: number } => {
  const [, count, speed = ''] = /^(\d{1,5})x(.+)$/.exec(text) ?? [];
  const bits = bitsOf(speed);
  if (Number(count) > 0 && bits !== undefined) return { count: Number(count), bandwidth: bits };
  throw new InvalidArgumentError('Expected nodes and the bandwidth of their links, as 2x10Mbit.');
};

/** 1%x3: in a step a node takes 3 times as long with a probability of 1 %. Throws InvalidArgumentError. */
export const stragglers = (text: string): { readonly probability: number; readonly times: number } => {
  const [, percent, factor] = /^(\d+(?:\.\d+)?)%x(\d+(?:\.\d+)?)$/.exec(text) ?? [];
  const [probability, times] = [Number(percent) / 100, Number(factor)];
  if (probability <= 1 && times >= 1) return { probability, times };
  throw new InvalidArgumentError('Expected how often and how many times slower a node is, as 1%x3.');
};

/** As `workerCount`; 0 is none. */
export const ownWorkerCount = (text: string): number | 'auto' => (text === '0' ? 0 : workerCount(text));

/** Values of an option that may be repeated. */
export const collect = (text: string, before: readonly string[]): string[] => [...before, text];

const BYTES = { '': 0, k: 1, m: 2, g: 3, t: 4 };

/** 500MB, 10GiB: bytes. Throws InvalidArgumentError. */
export const byteSize = (text: string): number => {
  const [, digits = '', prefix = '', binary] = /^(\d+(?:\.\d+)?) ?(?:([kmgt]?)(i?)b?)?$/i.exec(text) ?? [];
  const value = Math.round(
    Number(digits) * (binary ? 1024 : 1000) ** BYTES[prefix.toLowerCase() as keyof typeof BYTES],
  );
  if (digits !== '' && Number.isSafeInteger(value)) return value;
  throw new InvalidArgumentError('Expected bytes, as 500MB or 10GiB; 0 for none.');
};
