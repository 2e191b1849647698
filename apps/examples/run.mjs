/** `node run.mjs EXAMPLE [OPTIONS]` runs EXAMPLE/main.ts as it is, without a build: change it and run it again. */
import { existsSync, readdirSync } from 'node:fs';
import { createJiti } from 'jiti';
import { ConfigError } from 'lockstep';

/** @param {string} name */
const mainOf = (name) => new URL(`${name}/main.ts`, import.meta.url);

const examples = readdirSync(new URL('.', import.meta.url)).filter((name) => existsSync(mainOf(name)));
const [name = '', ...options] = process.argv.slice(2);

if (examples.includes(name)) {
  process.argv.splice(2, process.argv.length, ...options);
  try {
    await createJiti(import.meta.url).import(mainOf(name).href);
  } catch (error) {
    // A wrong option: the message says all.
    if (!(error instanceof ConfigError)) throw error;
    console.error(error.message);
    process.exitCode = 2;
  }
} else {
  console.error(`example: got ${name || 'no name'}, expected one of: ${examples.join(', ')}`);
  process.exitCode = 2;
}
