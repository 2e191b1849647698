/** `npm test [-- OPTIONS]`: makes the workspace ready, then runs the tests of all packages: `vitest run OPTIONS`. */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { bootstrap, root, toolEnvironment } from './bootstrap.mjs';

await bootstrap();
const vitest = join(root, 'node_modules/vitest/vitest.mjs');
const child = spawn(process.execPath, [vitest, 'run', ...process.argv.slice(2)], {
  cwd: root,
  env: toolEnvironment(),
  stdio: 'inherit',
});
// A terminal's Ctrl-C reaches vitest by itself: wait for its summary. Other signals are passed on.
process.on('SIGINT', () => {});
process.on('SIGTERM', () => child.kill('SIGTERM'));
child.on('exit', (code) => process.exit(code ?? 1));
