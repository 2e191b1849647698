/** Writes houses.csv anew: `npm run example regression/make`; with `-- --rows N --seed N` another table. */
import { writeFileSync } from 'node:fs';
import { readOptions } from '../options.ts';
import { houses } from './houses.ts';

const { rows, seed, out } = readOptions({ rows: 1000, seed: 2026, out: '' });
writeFileSync(out || new URL('houses.csv', import.meta.url), houses(rows, seed));
