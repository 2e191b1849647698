import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const pages = ['.', 'bench', ...readdirSync(join(root, 'packages')).map((name) => join('packages', name))]
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
