import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, expect, test } from 'vitest';

const script = fileURLToPath(new URL('../scripts/summary.mjs', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'lockstep-summary-'));
afterAll(() => rmSync(folder, { recursive: true }));

const file = (status: string, ...tests: string[]) => ({
  status,
  assertionResults: tests.map((each) => ({ status: each })),
});
const report = (numPassedTests: number, numFailedTests: number, ...testResults: ReturnType<typeof file>[]) =>
  JSON.stringify({ numPassedTests, numFailedTests, numPendingTests: 0, testResults });
const good = 'tests=0 typecheck=0 lint=0';
const red = 'tests=1 typecheck=0 lint=0';

test.each<[string, string, string, string]>([
  ['all is well', report(2, 0, file('passed', 'passed', 'passed')), good, '2 passed, 0 failed'],
  ['a test fails', report(1, 1, file('failed', 'passed', 'failed')), red, '1 passed, 1 failed'],
  ['a file fails to load', report(1, 0, file('passed', 'passed'), file('failed')), red, '1 passed, 1 failed'],
  ['vitest fails though all tests pass', report(2, 0), red, '2 passed, 1 failed'],
  ['a check fails', report(2, 0), 'tests=0 typecheck=2 lint=0', '2 passed, 1 failed'],
  ['tests and checks fail', report(2, 1), 'tests=1 typecheck=2 lint=1', '2 passed, 3 failed'],
  ['the build fails, so that there is no report', '', red, '0 passed, 1 failed'],
  ['no test ran', report(0, 0), good, '0 passed, 1 failed'],
])('the CI run closes with the right count when %s', (_, json, outcomes, expected) => {
  const path = join(folder, 'report.json');
  writeFileSync(path, json);
  const { stdout, status } = spawnSync(process.execPath, [script, path, ...outcomes.split(' ')], {
    encoding: 'utf8',
  });
  expect(stdout.trimEnd().split('\n').at(-1)).toBe(expected);
  expect(status).toBe(expected.endsWith(', 0 failed') ? 0 : 1);
});
