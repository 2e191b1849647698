/** A reporter of vitest: the ten test files that took longest, so that a suite that grows slow says where. */

const SHOWN = 10;

export default class SlowestFiles {
  /** @param {readonly import('vitest/node').TestModule[]} modules */
  onTestRunEnd(modules) {
    const files = modules
      .map((module) => {
        const { duration, setupDuration, collectDuration } = module.diagnostic();
        const project = module.project.name;
        return {
          seconds: (duration + setupDuration + collectDuration) / 1000,
          file: module.relativeModuleId,
          project,
        };
      })
      .sort((a, b) => b.seconds - a.seconds);
    if (files.length <= 1) return;
    console.log('\nSlowest files');
    for (const { seconds, file, project } of files.slice(0, SHOWN)) {
      console.log(`${seconds.toFixed(1).padStart(7)} s  ${project.padEnd(6)}  ${file}`);
    }
    for (const name of new Set(files.map(({ project }) => project))) {
      const total = files.reduce((sum, each) => sum + (each.project === name ? each.seconds : 0), 0);
      console.log(`${total.toFixed(1).padStart(7)} s  ${name} in all, added up over its processes`);
    }
  }
}
