import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const pages = [
  '.',
  'bench',
  'docs',
  ...readdirSync(join(root, 'packages')).map((name) => join('packages', name)),
]
  .concat(readdirSync(join(root, 'apps')).map((name) => join('apps', name)))
  .flatMap((folder) => readdirSync(join(root, folder)).map((name) => join(folder, name)))
  .filter((path) => path.endsWith('.md'));

test.each(pages)('the links of %s lead somewhere', (page) => {
  const text = readFileSync(join(root, page), 'utf8');
  const targets = [...text.matchAll(/\]\((?!\w+:|#)([^)#]+)[^)]*\)/g)].map(([, target]) => target ?? '');
  const missing = targets.filter((target) => !existsSync(join(root, dirname(page), target)));
  expect(missing).toEqual([]);
});

test('the architecture page lists every package', () => {
  const text = readFileSync(join(root, 'ARCHITECTURE.md'), 'utf8');
  const packages = readdirSync(join(root, 'packages'));
  expect(packages.filter((name) => !text.includes(`| \`${name}\` |`))).toEqual([]);
});

test('every reason to refuse a connection is explained', () => {
  const text = readFileSync(join(root, 'docs/refusals.md'), 'utf8');
  const source = (path: string) => readFileSync(join(root, 'packages', path), 'utf8');
  const codes = [
    ...source('sync/src/websocket/errors.ts').matchAll(/^ {2}([A-Z][A-Z_]+): /gm),
    ...source('protocol/src/errors.ts').matchAll(/^ {2}\| '([A-Z_]+)'/gm),
    ...source('sync/src/driver/coordinatorDriver.ts').matchAll(/'([A-Z]+(?:_[A-Z]+)*)',$/gm),
  ].map(([, code = '']) => code);
  expect(codes.length).toBeGreaterThan(45);
  expect(codes.filter((code) => !text.includes(`\`${code}\``))).toEqual([]);
});

test('the files that the architecture page points to exist', () => {
  const rows = readFileSync(join(root, 'ARCHITECTURE.md'), 'utf8').matchAll(/^\| `(\w+)` \|.*\|([^|]*)\|$/gm);
  const files = [...rows].flatMap(([, name = '', places = '']) =>
    [...places.matchAll(/`([^`]+)`/g)].map(([, place = '']) => join('packages', name, place)),
  );
  expect(files.length).toBeGreaterThan(9);
  expect(files.filter((file) => !existsSync(join(root, file)))).toEqual([]);
});

test('the command npm runs for a script exists', () => {
  const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
    scripts: Record<string, string>;
  };
  const files = Object.values(scripts).flatMap(
    (command) => command.match(/\b(scripts|bench)\/\S+\.mjs/g) ?? [],
  );
  expect(files.length).toBeGreaterThan(0);
  expect(files.filter((file) => !existsSync(join(root, file)))).toEqual([]);
});

describe('the readme', () => {
  const readme = readFileSync(join(root, 'README.md'), 'utf8');
  const lockstep = (...words: string[]) =>
    spawnSync(process.execPath, [join(root, 'apps/cli/dist/main.js'), ...words], { encoding: 'utf8' });

  test('shows a config that runs', () => {
    const config = /```ts\n([\s\S]*?)```/.exec(readme)?.[1] ?? '';
    const folder = mkdtempSync(join(tmpdir(), 'lockstep-readme-'));
    try {
      const path = join(folder, 'lockstep.config.ts');
      writeFileSync(path, config);
      const { status, stdout, stderr } = lockstep('train', path, '--steps', '2', '--json');
      expect(stderr).toBe('');
      expect(status).toBe(0);
      const done: unknown = JSON.parse(stdout.trimEnd().split('\n').at(-1) ?? '');
      expect(done).toMatchObject({ type: 'done', step: 2, exact: true });
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  const rowsOf = (text: string): string[] =>
    [...text.matchAll(/^\| (`.*?) \|/gm)].map(([, cell = '']) => cell);

  test('names the commands that there are', () => {
    const commands = rowsOf(readme).flatMap((cell) =>
      [...cell.matchAll(/`lockstep (\w+)/g)].map(([, name]) => name),
    );
    const help = lockstep('--help').stdout;
    const all = ['train', 'serve', 'join', 'cache', 'eval', 'verify', 'predict', 'doctor', 'bench'];
    expect([...new Set(commands)]).toEqual(all);
    expect(commands.filter((name) => !help.includes(`  ${name} `))).toEqual([]);
  });

  const optionsOf = (command: string): string[] => {
    const { stdout } = lockstep(command, '--help');
    return [...new Set(stdout.match(/^ +--[a-z-]+/gm)?.map((text) => text.trim()))].sort();
  };

  /** The first column of the table `option of …`. */
  const tableOf = (command: string): string[] => {
    const [, table = ''] =
      new RegExp(`^\\| option of \`${command}\`.*\\n((?:\\|.*\\n)*)`, 'm').exec(readme) ?? [];
    return [...new Set(rowsOf(table).flatMap((cell) => cell.match(/--[a-z-]+/g) ?? []))].sort();
  };

  test.each<[string, string | undefined]>([
    ['train', undefined],
    ['serve', 'train'],
    ['join', undefined],
  ])('names the options of %s', (command, beside) => {
    const known = beside === undefined ? [] : optionsOf(beside);
    // --workers of serve can be 0, and --profile is train's alone.
    const own = optionsOf(command).filter((option) => option === '--workers' || !known.includes(option));
    expect(tableOf(command)).toEqual(own);
  });
});
