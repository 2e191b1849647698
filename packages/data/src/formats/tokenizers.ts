/** Text to numbers and back. */
import { DataError } from '../common/errors.ts';

export interface Tokenizer {
  /** Tokens are from 0 to size − 1. */
  readonly size: number;
  /** @throws DataError on text that it has no tokens for. */
  encode(text: string): Uint8Array | Int32Array;
  /** @throws DataError on what is no token. */
  decode(tokens: Iterable<number>): string;
}

export interface CharacterTokenizer extends Tokenizer {
  /** The character (Unicode code point) of each token. */
  readonly vocabulary: readonly string[];
}

/** A byte order mark is a character as any other. */
const utf8 = new TextDecoder('utf-8', { ignoreBOM: true });

/** Tokens in as few bytes as they need. */
const packed = (size: number, tokens: readonly number[]): Uint8Array | Int32Array =>
  size <= 256 ? Uint8Array.from(tokens) : Int32Array.from(tokens);

function checkToken(who: string, token: number, size: number): void {
  if (Number.isInteger(token) && token >= 0 && token < size) return;
  throw new DataError(
    'DATA_VALUE',
    `${who}: got token ${token}, expected a whole number from 0 to ${size - 1}.`,
  );
}

/**
 * One token per character: those of `text`, in the order of their code points. Keep `vocabulary.join('')` beside the
 * weights; it gives the same tokenizer again.
 *
 * @throws DataError on an empty text.
 */
export function characters(text: string): CharacterTokenizer {
  const who = 'characters';
  const vocabulary = [...new Set(text)].sort((a, b) => a.codePointAt(0)! - b.codePointAt(0)!);
  if (vocabulary.length === 0) {
    throw new DataError(
      'DATA_EMPTY',
      `${who}: got an empty text, expected one with all characters that occur.`,
    );
  }
  const tokenOf = new Map(vocabulary.map((character, token) => [character, token]));
  return {
    size: vocabulary.length,
    vocabulary,
    encode: (source) =>
      packed(
        vocabulary.length,
        Array.from(source, (character) => {
          const token = tokenOf.get(character);
          if (token !== undefined) return token;
          throw new DataError(
            'DATA_VALUE',
            `${who}: ${JSON.stringify(character)} is not among the ${vocabulary.length} characters of the vocabulary. Build ` +
              'it from a text that has all, or use bytes().',
          );
        }),
      ),
    decode: (tokens) =>
      Array.from(tokens, (token) => {
        checkToken(who, token, vocabulary.length);
        return vocabulary[token]!;
      }).join(''),
  };
}

/** One token per byte of UTF-8: any text, 256 tokens. What is no UTF-8 decodes to U+FFFD. */
export const bytes = (): Tokenizer => ({
  size: 256,
  encode: (text) => new TextEncoder().encode(text),
  decode: (tokens) =>
    utf8.decode(
      Uint8Array.from(tokens, (token) => {
        checkToken('bytes', token, 256);
        return token;
      }),
    ),
});

/** What libraries such as gpt-tokenizer, js-tiktoken and tiktoken have. */
export interface TokenizerLibrary {
  encode(text: string): ArrayLike<number>;
  decode(tokens: number[]): string | Uint8Array;
}

/**
 * A tokenizer of a library: `tokenizer(getEncoding('gpt2'), 50257)`.
 *
 * @param size How many tokens it has.
 * @throws DataError where the library gives a token beyond `size`.
 */
export function tokenizer(library: TokenizerLibrary, size: number): Tokenizer {
  if (!Number.isInteger(size) || size < 1) {
    throw new DataError(
      'DATA_OPTION',
      `tokenizer: got size ${size}, expected the number of tokens, at least 1.`,
    );
  }
  return {
    size,
    encode: (text) => {
      const tokens = Array.from(library.encode(text));
      for (const token of tokens) checkToken('tokenizer', token, size);
      return packed(size, tokens);
    },
    decode: (tokens) => {
      const list = [...tokens];
      for (const token of list) checkToken('tokenizer', token, size);
      const text = library.decode(list);
      return typeof text === 'string' ? text : utf8.decode(text);
    },
  };
}
