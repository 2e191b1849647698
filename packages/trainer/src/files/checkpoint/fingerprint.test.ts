/** A run is resumed only as what it was. */
import { expect, test } from 'vitest';
import { differences } from './fingerprint.ts';

test.each([
  ['nothing', { batch: 60, numericsRevision: 2 }, { batch: 60, numericsRevision: 2 }, undefined],
  ['a number', { batch: 60 }, { batch: 61 }, 'batch was 60, is 61'],
  ['the data', { data: { contentHash: 'a' } }, { data: { contentHash: 'b' } }, 'the data changed'],
  [
    'a build that computes other bits, from before they were counted',
    { batch: 60 },
    { batch: 60, numericsRevision: 2 },
    'it was written by a version of Lockstep that computes other bits (revision 1, this is 2); resume it with that version',
  ],
])('what changed: %s', (_, then, now, expected) => expect(differences(then, now)).toBe(expected));
