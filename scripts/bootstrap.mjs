/**
 * What `npm start` and `npm test` do before anything else: check Node, fetch pnpm, install, build.
 * Plain JavaScript on Node's own modules only, because it runs before anything is installed.
 * Everything it says goes to stderr: stdout belongs to the command that follows (`--json`).
 */
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('..', import.meta.url));

const NODE_NEEDED = [20, 19];
const INSTALL_STAMP = join(root, 'node_modules', '.lockstep-installed');
/** Compilers that the kernels' build tries after $CC, in its order. */
const COMPILERS = ['cc', 'gcc', 'clang'];

/** @typedef {{ file: string, args: string[], shell?: boolean }} Command */

/**
 * Makes the workspace ready to run: dependencies as in the lockfile, every package built. Quick when nothing
 * changed. Ends the process with exit code 1 and the full output of the failed step when it cannot.
 */
export async function bootstrap() {
  checkNode();
  await install();
  await build();
}

function checkNode() {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  const [needMajor = 0, needMinor = 0] = NODE_NEEDED;
  if (major > needMajor || (major === needMajor && minor >= needMinor)) return;
  fail(
    `Lockstep needs Node ${NODE_NEEDED.join('.')} or newer, this is ${process.versions.node}. ` +
      'Get a newer one from https://nodejs.org and try again.',
  );
}

/** Installs with the pinned pnpm, unless lockfile and manifests are those of the last installation. */
async function install() {
  const wanted = dependencyHash();
  if (existsSync(INSTALL_STAMP) && readFileSync(INSTALL_STAMP, 'utf8') === wanted) return;
  // Gone while pnpm works, so that an interrupted installation is not taken for a finished one.
  rmSync(INSTALL_STAMP, { force: true });
  const args = ['install', '--frozen-lockfile', '--prod=false', '--config.confirmModulesPurge=false'];
  await phase(
    'install',
    pnpm(args),
    'Is the package registry reachable? See `npm config get registry` and proxy.',
  );
  writeFileSync(INSTALL_STAMP, wanted);
}

/** Builds through turbo, whose cache makes this a matter of 0.2 s when nothing changed. */
export async function build() {
  const output = await phase('build', turbo(['build', '--output-logs=new-only', '--log-prefix=none']));
  // A build step may have something to tell although it went well, for instance that there is no C compiler.
  for (const line of output.split(/\r?\n/)) if (/^@lockstep\/[\w-]+: /.test(line)) console.error(line);
}

/**
 * @param {string[]} args tasks and options of `turbo run`
 * @returns {Command}
 */
export function turbo(args) {
  return { file: process.execPath, args: [join(root, 'node_modules/turbo/bin/turbo'), 'run', ...args] };
}

/** A hash of all that decides what is installed: lockfile, settings, manifests, platform. */
function dependencyHash() {
  const hash = createHash('sha256').update(`${process.platform} ${process.arch}`);
  const folders = ['.', ...subfolders('.').flatMap((folder) => [folder, ...subfolders(folder)])];
  const files = [
    'pnpm-lock.yaml',
    'pnpm-workspace.yaml',
    ...folders.map((folder) => join(folder, 'package.json')),
  ];
  for (const file of files) {
    const path = join(root, file);
    if (existsSync(path)) hash.update(`\n${file}\n`).update(readFileSync(path));
  }
  return hash.digest('hex');
}

/** @param {string} folder relative to the root; @returns {string[]} folders in it that may hold a package */
function subfolders(folder) {
  return readdirSync(join(root, folder), { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && !entry.name.startsWith('.') && entry.name !== 'node_modules')
    .map((entry) => join(folder, entry.name))
    .sort();
}

/**
 * The pnpm that the root manifest pins: the installed one, or fetched by npx.
 * @param {string[]} args
 * @returns {Command}
 */
function pnpm(args) {
  /** @type {{ packageManager: string }} */
  const { packageManager } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  const pinned = packageManager.split('+')[0] ?? packageManager;
  const installed = join(root, 'node_modules/pnpm');
  if (existsSync(join(installed, 'package.json'))) {
    /** @type {{ version: string }} */
    const { version } = JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8'));
    if (`pnpm@${version}` === pinned)
      return { file: process.execPath, args: [join(installed, 'bin/pnpm.cjs'), ...args] };
  }
  const npx = npxScript();
  if (npx) return { file: process.execPath, args: [npx, '--yes', pinned, ...args] };
  // By a shell, because Windows starts npx.cmd no other way. These are our own words, without blanks or quotes.
  return { file: ['npx', '--yes', pinned, ...args].join(' '), args: [], shell: true };
}

/** The npx of the npm that runs us, so that no shell and no PATH is needed to start it. */
function npxScript() {
  const npm = process.env.npm_execpath ?? '';
  const script = join(dirname(npm), 'npx-cli.js');
  return /npm-cli\.js$/.test(npm) && existsSync(script) ? script : undefined;
}

/** The environment of every tool that we start. */
export function toolEnvironment() {
  const env = { ...process.env };
  // NODE_ENV=production would leave out the tools that build.
  delete env.NODE_ENV;
  // turbo looks for pnpm on PATH, and there may be none but ours. Windows spells the variable `Path`.
  const path = Object.keys(env).find((name) => name.toUpperCase() === 'PATH') ?? 'PATH';
  env[path] = [join(root, 'node_modules', '.bin'), env[path]].filter(Boolean).join(delimiter);
  env.TURBO_TELEMETRY_DISABLED = '1';
  env.TURBO_NO_UPDATE_NOTIFIER = '1';
  env.LOCKSTEP_TOOLCHAIN = toolchain();
  return env;
}

/**
 * Platform and C compiler. turbo keys the kernels' build with it, so that a compiler that came, went or changed
 * means a new build instead of a hit in the cache.
 */
function toolchain() {
  for (const compiler of [process.env.CC, ...COMPILERS]) {
    if (!compiler) continue;
    const { status, stdout } = spawnSync(compiler, ['--version'], { encoding: 'utf8', windowsHide: true });
    if (status === 0) return `${process.platform} ${process.arch} ${stdout.split('\n')[0]}`;
  }
  return `${process.platform} ${process.arch} without C compiler`;
}

/**
 * Runs one step quietly: its name and the seconds it took on one line, its output only when it fails.
 * @param {string} name
 * @param {Command} command
 * @param {string} [hint] what to try when it failed
 * @returns {Promise<string>} the output
 */
async function phase(name, command, hint) {
  const start = performance.now();
  process.stderr.write(`lockstep: ${name} ... `);
  const { code, output } = await capture(command);
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  process.stderr.write(code === 0 ? `${seconds} s\n` : `failed after ${seconds} s\n`);
  if (code === 0) return output;
  process.stderr.write(`${output.trimEnd()}\n`);
  return fail(`${name} failed, see above.${hint ? ` ${hint}` : ''}`);
}

/**
 * @param {Command} command
 * @returns {Promise<{ code: number, output: string }>} stdout and stderr in the order in which they came
 */
function capture({ file, args, shell = false }) {
  return new Promise((resolve) => {
    const child = spawn(file, args, { cwd: root, env: toolEnvironment(), shell, windowsHide: true });
    child.stdin.end();
    let output = '';
    child.stdout.setEncoding('utf8').on('data', (text) => (output += text));
    child.stderr.setEncoding('utf8').on('data', (text) => (output += text));
    child.on('error', (error) => resolve({ code: 1, output: `${output}${file}: ${error.message}\n` }));
    child.on('close', (code) => resolve({ code: code ?? 1, output }));
  });
}

/**
 * @param {string} message
 * @returns {never}
 */
function fail(message) {
  console.error(message);
  process.exit(1);
}
