/** The token of a run: from an option, from a file, or from the environment, in this order. */
import { readFileSync } from 'node:fs';
import { ConfigFileError } from './failure.ts';

export const TOKEN_VARIABLE = 'LOCKSTEP_TOKEN';

export interface TokenFlags {
  readonly token?: string;
  readonly tokenFile?: string;
}

/** Of a file; more is not a token. */
const MAX_BYTES = 4096;

/** Undefined: none was given. Throws a ConfigFileError where the file can't be read or holds none. No message repeats a token. */
export function readToken(
  command: string,
  { token, tokenFile }: TokenFlags,
  environment: NodeJS.ProcessEnv = process.env,
): string | undefined {
  if (token !== undefined) return token;
  if (tokenFile !== undefined) return readTokenFile(command, tokenFile);
  // An empty variable is how many tools say that there is none.
  return environment[TOKEN_VARIABLE]?.trim() || undefined;
}

function readTokenFile(command: string, file: string): string {
  const refuse = (why: string): never => {
    throw new ConfigFileError(
      `${command}: --token-file ${file} ${why}; expected a file with the token as its only line`,
    );
  };
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    return refuse(`cannot be read (${(error as Error).message})`);
  }
  const token = text.trim();
  if (token === '') return refuse('is empty');
  if (text.length > MAX_BYTES || /\s/.test(token)) return refuse('holds more than a token');
  return token;
}
