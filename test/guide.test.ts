/** The guide's blocks run, and print what they say that they print. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { format } from 'node:util';
import { afterAll, expect, test, vi } from 'vitest';

const here = dirname(fileURLToPath(import.meta.url));
const guide = readFileSync(join(here, '../docs/guide.md'), 'utf8');
// Beside this file, whence the package is found.
const folder = mkdtempSync(join(here, '.guide-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** Headings (for the name) and blocks. */
const blocks = guide
  .split(/^## /m)
  .flatMap((section) =>
    [...section.matchAll(/```ts\n([\s\S]*?)```/g)].map(
      ([, code = ''], i) => [`${section.split('\n')[0]} ${i + 1}`, code] as const,
    ),
  );

const fileOf = (name: string): string => join(folder, `${name.replace(/\W+/g, '-')}.ts`);
for (const [name, code] of blocks) writeFileSync(fileOf(name), code);

test('has blocks', () => expect(blocks.length).toBeGreaterThan(5));

test('has the right types', () => {
  const config = { extends: join(here, 'tsconfig.json'), include: ['*.ts'], exclude: [] };
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify(config));
  const compiler = join(here, '../node_modules/typescript/bin/tsc');
  const { stdout } = spawnSync(process.execPath, [compiler, '--noEmit', '-p', folder], { encoding: 'utf8' });
  expect(stdout).toBe('');
});

test.each(blocks)('%s', async (name, code) => {
  const log = vi.spyOn(console, 'log').mockImplementation(() => {});
  try {
    await import(fileOf(name));
    const printed = log.mock.calls.map((words) => format(...words));
    const said = [...code.matchAll(/^.*console\.log\(.*\/\/ → (.*)$/gm)].map(([, text]) => text);
    expect(said.length).toBeGreaterThan(0);
    expect(printed).toEqual(said);
  } finally {
    log.mockRestore();
  }
});
