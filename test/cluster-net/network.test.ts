/**
 * Hosts of their own, as network namespaces: cables that are pulled, black holes in one direction, links of 1 Gbit/s and
 * 100 Mbit/s. The digest is that of one machine; what the shaped links did is told with the test.
 */
import { rmSync } from 'node:fs';
import { afterAll, afterEach, beforeEach, describe, expect, test } from 'vitest';
import { configText, events, folderWith, lockstep } from '../command.ts';
import { Lan, whyNoLan } from './lan.ts';
import { Command, type Told } from './process.ts';

const TOKEN = 'network_namespaces-0123456789';
const HEARTBEAT = 150;

const large = {
  batch: '512',
  epochs: '6',
  data: '() => data.digits({ train: 5120, validation: 10 })',
  model:
    '() => nn.sequential(nn.linear(784, 1024), nn.relu(), nn.linear(1024, 1024), nn.relu(), nn.linear(1024, 10))',
  optimizer: 'optim.adam({ lr: 1e-3 })',
};
const folder = folderWith({
  'small.mjs': configText({ epochs: '350' }),
  'large.mjs': configText(large),
});
afterAll(() => rmSync(folder, { recursive: true }));

const why = whyNoLan();
if (why !== undefined) test.skip(`no network namespaces here: ${why}`, () => {});

const digestOf = async (config: string): Promise<unknown> => {
  const { stdout } = await lockstep(['train', config, '--json', '--quiet'], { cwd: folder });
  return events(stdout).at(-1)?.weightsDigest;
};

describe.skipIf(why !== undefined)('two nodes on a network', () => {
  let lan: Lan;
  let commands: Command[] = [];
  let told: Told[] = [];
  beforeEach(() => {
    lan = new Lan(2);
  });
  afterEach(async () => {
    for (const command of commands) await command.end();
    [commands, told] = [[], []];
    lan.remove();
  });

  const start = async (config: string, words = ''): Promise<Command> => {
    const serve = `serve ${config} --workers 0 --min-nodes 2 --host ${lan.host} --port 7070 --token ${TOKEN}${words}`;
    const coordinator = new Command(serve, folder, lan.on('coordinator'), (event) => told.push(event));
    commands.push(coordinator);
    await coordinator.until(() => coordinator.url !== undefined);
    for (const i of [1, 2]) {
      const join = `join ${coordinator.url} --token ${TOKEN} --name n${i} --workers 1 --cache cache`;
      commands.push(new Command(join, folder, lan.on(`node${i}`)));
    }
    return coordinator;
  };
  const more = async (coordinator: Command, steps: number): Promise<void> => {
    const from = coordinator.steps;
    await coordinator.until(() => coordinator.steps >= from + steps);
  };
  const seen = (type: string, name: string): number =>
    told.filter((event) => event.type === type && event.name === name).length;

  test.each<[string, (lan: Lan) => () => void]>([
    [
      'a cable is pulled and plugged in again',
      (lan) => {
        lan.cable(1, false);
        return () => lan.cable(1, true);
      },
    ],
    [
      'what a node sends vanishes',
      (lan) => {
        lan.blackHole(1, 'up');
        return () => lan.heal(1, 'up');
      },
    ],
    [
      'what is sent to a node vanishes',
      (lan) => {
        lan.blackHole(1, 'down');
        return () => lan.heal(1, 'down');
      },
    ],
  ])('%s', async (_, breakIt) => {
    const coordinator = await start('small.mjs', ` --heartbeat ${HEARTBEAT}`);
    await more(coordinator, 100);
    const mend = breakIt(lan);
    await coordinator.until(() => seen('lost', 'n1') === 1);
    // The other one does it all meanwhile; then it stops, so that the run does not end before the first is back.
    await more(coordinator, 100);
    const [, , other] = commands;
    other?.child?.kill('SIGSTOP');
    mend();
    await coordinator.until(() => seen('join', 'n1') === 2);
    other?.child?.kill('SIGCONT');
    await coordinator.outcome;
    expect(coordinator.last).toMatchObject({ type: 'done', weightsDigest: await digestOf('small.mjs') });
  });

  test.each<[string, number, number]>([
    ['1gbit', 1e9 / 8, 32],
    ['100mbit', 1e8 / 8, 4],
  ])('a link of %s', async (rate, bandwidth, steps) => {
    lan.shape(rate);
    const coordinator = await start('large.mjs');
    // The nodes' speeds are known.
    await more(coordinator, 3);
    const [before, begin, from] = [lan.bytes(), performance.now(), coordinator.steps];
    await more(coordinator, steps);
    const [after, end, count] = [lan.bytes(), performance.now(), coordinator.steps - from];
    const step = (end - begin) / count;
    const bytes = Math.max(after.sent - before.sent, after.received - before.received);
    const wire = (bytes / bandwidth / count) * 1000;
    console.log(
      `${rate}: ${step.toFixed(1)} ms a step; ${(bytes / count / 1e6).toFixed(2)} MB in one direction need ${wire.toFixed(1)} ms ` +
        `(${(step / wire).toFixed(2)} ×)`,
    );
    lan.shape('10gbit');
    await coordinator.outcome;
    expect(coordinator.last).toMatchObject({ type: 'done', weightsDigest: await digestOf('large.mjs') });
    // More than the link can carry: then it was not shaped.
    expect(bytes / ((end - begin) / 1000)).toBeLessThan(1.1 * bandwidth);
  });
});
