/** Writes houses.csv anew: `npm run example regression/make`. */
import { writeFileSync } from 'node:fs';
import { houses } from './houses.ts';

writeFileSync(new URL('houses.csv', import.meta.url), houses(1000, 2026));
