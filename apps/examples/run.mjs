/**
 * `node run.mjs EXAMPLE [OPTIONS]` runs EXAMPLE/main.ts (EXAMPLE/NAME: EXAMPLE/NAME.ts) as it is, without a build:
 * change it and run it again.
 */
import { existsSync, readdirSync } from 'node:fs';
import { createJiti } from 'jiti';
import { ConfigError, data } from 'lockstep';

/** @param {string} name */
const fileOf = (name) => new URL(name.includes('/') ? `${name}.ts` : `${name}/main.ts`, import.meta.url);

const [name = '', ...options] = process.argv.slice(2);

if (name !== '' && existsSync(fileOf(name))) {
  process.argv.splice(2, process.argv.length, ...options);
  try {
    await createJiti(import.meta.url).import(fileOf(name).href);
  } catch (error) {
    // A wrong option, or data that do not fit: the message says all.
    if (!(error instanceof ConfigError || error instanceof data.DataError)) throw error;
    console.error(error.message);
    process.exitCode = 2;
  }
} else if (name !== '' && existsSync(new URL(`${name}/lockstep.config.ts`, import.meta.url))) {
  console.error(
    `example: ${name} is a config for the command: npm start -- apps/examples/${name}/lockstep.config.ts`,
  );
  process.exitCode = 2;
} else {
  const known = readdirSync(new URL('.', import.meta.url)).filter((folder) => existsSync(fileOf(folder)));
  console.error(`example: got ${name || 'no name'}, expected one of: ${known.join(', ')}`);
  process.exitCode = 2;
}
