import { defineConfig } from 'vitest/config';

/** Ratios that noise cannot flip: CI holds them. */
const guards = ['test/ratios.test.ts'];

/** What judges times, and so needs a quiet machine: `npm run test:timing`. */
const timing = [
  'test/startup.test.ts',
  'test/cluster-net/network.test.ts',
  'test/cluster-net/predicted.test.ts',
];

/** Of `test/`: neither a process nor a clock in them. */
const pure = ['test/{golden,types}/**/*.test.ts', 'test/{architecture,plainEnglish}.test.ts'];

/** Of the packages: processes, sockets, worker threads that are killed, whole trainings. */
const wholeRuns = [
  'packages/cluster/src/**/*.test.ts',
  'packages/data/src/sets/download.test.ts',
  'packages/sync/src/websocket/*.test.ts',
  'packages/trainer/src/**/*.test.ts',
  'packages/workers/src/*.test.ts',
  'apps/*/src/**/*.test.ts',
];

export default defineConfig({
  test: {
    // Processes, not threads: the tests of the pool start (and kill) worker threads of their own.
    pool: 'forks',
    // Tests train with several workers each; more files at once would only measure the scheduler.
    maxWorkers: 2,
    // Trainings and builds of wasm take seconds on a busy machine; a hang is still caught.
    testTimeout: 120_000,
    hookTimeout: 120_000,
    reporters: ['default', './scripts/slowestFiles.mjs'],
    projects: [
      {
        extends: true,
        test: {
          name: 'unit',
          include: ['packages/*/src/**/*.test.ts', ...pure],
          exclude: wholeRuns,
        },
      },
      {
        extends: true,
        test: {
          name: 'system',
          include: ['test/**/*.test.ts', ...wholeRuns],
          exclude: ['**/node_modules/**', ...pure, ...guards, ...timing],
        },
      },
      { extends: true, test: { name: 'guards', include: guards } },
      { extends: true, test: { name: 'timing', include: timing } },
    ],
  },
});
