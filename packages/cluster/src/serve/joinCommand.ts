/** What to type on another machine. */
import type { Listener } from '@lockstep/sync';

/**
 * A command line with which a node joins. A token that was made for this run is passed in the environment: every user of a
 * machine can read the words of its processes, but only the owner their environment. A token that was given isn't repeated.
 */
export function joinCommand(
  { urls, token, fingerprint }: Pick<Listener, 'urls' | 'token' | 'fingerprint'>,
  isTokenGiven: boolean,
): string {
  const words = ['lockstep join', urls[0]];
  if (token !== undefined && isTokenGiven) words.push('--token-file FILE');
  if (token !== undefined && !isTokenGiven) words.unshift(`LOCKSTEP_TOKEN=${token}`);
  if (fingerprint !== undefined) words.push(`--fingerprint ${fingerprint}`);
  return words.join(' ');
}
