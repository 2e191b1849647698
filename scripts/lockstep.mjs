/**
 * `npm start [-- OPTIONS]` and `npm run lockstep -- COMMAND OPTIONS`: makes the workspace ready, then runs the
 * `lockstep` command with these words.
 */
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { bootstrap, root } from './bootstrap.mjs';

await bootstrap();
// In this process, not in a child: signals, exit code and terminal are then those of the command itself.
const main = join(root, 'apps/cli/dist/main.js');
process.argv[1] = main;
await import(pathToFileURL(main).href);
