/**
 * `npm test [-- OPTIONS]`: makes the workspace ready, then runs the tests: `vitest run OPTIONS`. Without a path or a project
 * these are `unit` and `system`; what judges times is left to `npm run test:timing`.
 */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { bootstrap, root, toolEnvironment } from './bootstrap.mjs';

await bootstrap();
const vitest = join(root, 'node_modules/vitest/vitest.mjs');
const words = process.argv.slice(2);
const isChosen = words.some((word) => !word.startsWith('-') || word.startsWith('--project'));
const projects = isChosen ? [] : ['--project', 'unit', '--project', 'system'];
const child = spawn(process.execPath, [vitest, 'run', ...projects, ...words], {
  cwd: root,
  env: toolEnvironment(),
  stdio: 'inherit',
});
// A terminal's Ctrl-C reaches vitest by itself: wait for its summary. Other signals are passed on.
process.on('SIGINT', () => {});
process.on('SIGTERM', () => child.kill('SIGTERM'));
child.on('exit', (code) => process.exit(code ?? 1));
