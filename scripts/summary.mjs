/**
 * `node scripts/summary.mjs REPORT tests=CODE CHECK=CODE…`: closes a CI run.
 * REPORT is the JSON of vitest, missing or empty when vitest did not get that far; CODE are exit codes.
 * Prints what failed and, as the last line, `N passed, N failed`; exits with 1 when anything failed.
 */
import { readFileSync } from 'node:fs';

/** @typedef {{ status: string, message: string, name: string, assertionResults: { status: string }[] }} TestFile */
/** @typedef {{ numPassedTests: number, numFailedTests: number, numPendingTests: number, testResults: TestFile[] }} Report */

const [reportPath = '', ...outcomes] = process.argv.slice(2);
const report = read(reportPath);
const passed = report?.numPassedTests ?? 0;
// A file that fails outside its tests (an import that throws) has no failed test, and is one failure of its own.
const brokenFiles = (report?.testResults ?? []).filter(
  ({ status, assertionResults }) =>
    status === 'failed' && assertionResults.every((test) => test.status !== 'failed'),
);
let failed = (report?.numFailedTests ?? 0) + brokenFiles.length;

for (const outcome of outcomes) {
  const [name, code] = outcome.split('=');
  if (code === '0') continue;
  console.log(`failed: ${name}`);
  // Failing tests are counted one by one, unless vitest failed for another reason (a crash, an unhandled rejection).
  if (name !== 'tests' || failed === 0) failed += 1;
}
// No test at all is no success.
if (passed + failed === 0) failed = 1;
if (report?.numPendingTests) console.log(`${report.numPendingTests} skipped`);
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;

/**
 * @param {string} path
 * @returns {Report | undefined}
 */
function read(path) {
  try {
    return JSON.parse(readFileSync(path, 'utf8'));
  } catch {
    return undefined;
  }
}
