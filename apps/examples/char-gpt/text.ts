/** A text as numbers, one for each character, and windows to predict the next one in. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ConfigError, data } from 'lockstep';

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
    `there is no ${file}; set LOCKSTEP_DATA to a folder with ${name}, or give the example any text: --text FILE`,
  );
}

export interface Text {
  readonly tokenizer: data.CharacterTokenizer;
  readonly dataset: () => data.Dataset<'x' | 'y'>;
}

/** Windows `x`, and `y`: the same one character later. */
export function toTokens(text: string): Text {
  const tokenizer = data.characters(text);
  const tokens = tokenizer.encode(text);
  const held = tokens.length - Math.floor(TRAINED * tokens.length);
  const dataset = () =>
    data.windows(tokens, {
      length: CONTEXT,
      classes: tokenizer.size,
      labels: tokenizer.vocabulary,
      stride: STRIDE,
      validation: held,
    });
  return { tokenizer, dataset };
}
