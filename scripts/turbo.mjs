/** `node scripts/turbo.mjs TASK…`: `turbo run` with the environment that its cache is keyed by. */
import { spawn } from 'node:child_process';
import { root, toolEnvironment, turbo } from './bootstrap.mjs';

const { file, args } = turbo([...process.argv.slice(2), '--output-logs=errors-only']);
const child = spawn(file, args, { cwd: root, env: toolEnvironment(), stdio: 'inherit' });
child.on('exit', (code) => process.exit(code ?? 1));
