/**
 * `bench predict` beside two nodes, with a shaped link at the coordinator: what was predicted and what was measured is told
 * with the test. No time is judged: other programs may run beside it.
 */
import { rmSync, writeFileSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { configText, folderWith, lockstep } from '../command.ts';
import { Lan, whyNoLan } from './lan.ts';
import { Command } from './process.ts';

const TOKEN = 'network_namespaces-0123456789';

const large = configText({
  batch: '512',
  steps: '60',
  data: '() => data.digits({ train: 5120, validation: 10 })',
  model:
    '() => nn.sequential(nn.linear(784, 1024), nn.relu(), nn.linear(1024, 1024), nn.relu(), nn.linear(1024, 10))',
  metrics: '{}',
  optimizer: 'optim.adam({ lr: 1e-3 })',
});
const folder = folderWith({ 'large.mjs': large });
afterAll(() => rmSync(folder, { recursive: true }));

const why = whyNoLan();
if (why !== undefined) test.skip(`no network namespaces here: ${why}`, () => {});

describe.skipIf(why !== undefined)('predicted and measured', () => {
  let lan: Lan;
  const commands: Command[] = [];
  beforeAll(async () => {
    const { stdout } = await lockstep('bench predict large.mjs --seconds 8 --json'.split(' '), {
      cwd: folder,
    });
    writeFileSync(`${folder}/costs.json`, stdout);
  });
  afterEach(async () => {
    for (const command of commands.splice(0)) await command.end();
    lan.remove();
  });

  test.each([
    ['1gbit', '1Gbit', 16],
    ['100mbit', '100Mbit', 5],
  ])('on a link of %s', async (rate, bandwidth, count) => {
    const words = `bench predict --costs costs.json --nodes 2 --workers 1 --bandwidth ${bandwidth} --json`;
    const { stdout } = await lockstep(words.split(' '), { cwd: folder });
    const [predicted] = JSON.parse(stdout).predictions;
    lan = new Lan(2);
    lan.shape(rate);
    const serve = `serve large.mjs --workers 0 --min-nodes 2 --host ${lan.host} --port 7070 --token ${TOKEN}`;
    const coordinator = new Command(serve, folder, lan.on('coordinator'));
    commands.push(coordinator);
    await coordinator.until(() => coordinator.url !== undefined);
    for (const i of [1, 2]) {
      const join = `join ${coordinator.url} --token ${TOKEN} --name n${i} --workers 1 --cache cache`;
      commands.push(new Command(join, folder, lan.on(`node${i}`)));
    }
    // The nodes' speeds are known.
    await coordinator.until(() => coordinator.steps >= 4);
    const [begin, from] = [performance.now(), coordinator.steps];
    await coordinator.until(() => coordinator.steps >= from + count);
    const step = (performance.now() - begin) / (coordinator.steps - from);
    const error = 100 * (predicted.stepMilliseconds / step - 1);
    console.log(
      `${rate}: ${step.toFixed(1)} ms a step, predicted ${predicted.stepMilliseconds.toFixed(1)} ` +
        `(${error.toFixed(1)} %, bound by ${predicted.bound})`,
    );
    expect(step).toBeGreaterThan(0);
    expect(predicted.stepMilliseconds).toBeGreaterThan(0);
  });
});
