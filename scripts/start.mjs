/** `npm start [-- OPTIONS]`: makes the workspace ready, then trains: `lockstep train OPTIONS`. */
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { bootstrap, root } from './bootstrap.mjs';

await bootstrap();
// In this process, not in a child: signals, exit code and terminal are then those of the command itself.
const main = join(root, 'apps/cli/dist/main.js');
process.argv.splice(1, 1, main, 'train');
await import(pathToFileURL(main).href);
