import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['packages/*/src/**/*.test.ts', 'apps/*/src/**/*.test.ts', 'test/**/*.test.ts'],
    // Processes, not threads: the tests of the pool start (and kill) worker threads of their own.
    pool: 'forks',
    // Tests train with several workers each; more files at once would only measure the scheduler.
    maxWorkers: 2,
    // Trainings and builds of wasm take seconds on a busy machine; a hang is still caught.
    testTimeout: 120_000,
    hookTimeout: 120_000,
  },
});
