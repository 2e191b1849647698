/** A text as numbers: its characters in order of their codes, and windows to predict the next one in. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ConfigError, data, type Tensor, tensor } from 'lockstep';

/** Characters that the model sees at once. */
export const CONTEXT = 64;
/** Windows to train on begin this many characters apart. */
const STRIDE = 8;
/** The last tenth is for validation, as in nanoGPT. */
const TRAINED = 0.9;

const name = 'tinyshakespeare.txt';

/** `path`, else the file in the folder LOCKSTEP_DATA. Throws ConfigError. */
export function readText(path?: string): string {
  const file = path || join(process.env.LOCKSTEP_DATA ?? '', name);
  if (existsSync(file)) return readFileSync(file, 'utf8');
  throw new ConfigError(
    'char-gpt',
    `there is no ${file}; set LOCKSTEP_DATA to a folder with ${name}, or give any text with --text`,
  );
}

export interface Text {
  readonly characters: readonly string[];
  readonly dataset: () => data.Dataset<'input' | 'next'>;
  /** The numbers of a string, as a batch of one. */
  readonly encode: (text: string) => Tensor;
}

export function toTokens(text: string): Text {
  const characters = [...new Set(text)].sort();
  if (characters.length > 256) {
    throw new ConfigError('char-gpt', `got ${characters.length} different characters, expected at most 256`);
  }
  const numberOf = new Map(characters.map((character, i) => [character, i]));
  const tokens = Uint8Array.from(text, (character) => numberOf.get(character)!);
  const end = Math.floor(TRAINED * tokens.length);
  const windows = (from: Uint8Array, stride: number, options = {}) => {
    const count = Math.max(1, Math.floor((from.length - CONTEXT - 1) / stride) + 1);
    const part = (shift: number): data.Column => {
      const values = new Uint8Array(count * CONTEXT);
      for (let row = 0; row < count; row++) {
        const at = row * stride + shift;
        values.set(from.subarray(at, at + CONTEXT), row * CONTEXT);
      }
      return data.column(values, { shape: [CONTEXT], as: 'i32', labels: characters });
    };
    return data.arrays({ input: part(0), next: part(1) }, options);
  };
  return {
    characters,
    dataset: () =>
      windows(tokens.subarray(0, end), STRIDE, { validation: windows(tokens.subarray(end), CONTEXT) }),
    encode: (part) => {
      const numbers = Int32Array.from(part, (character) => numberOf.get(character) ?? 0);
      return tensor(numbers, { shape: [1, numbers.length] });
    },
  };
}
