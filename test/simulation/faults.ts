import type { Link } from './network.ts';
import type { World } from './world.ts';

/** Does something to the world; false when there was nothing to do it to. */
type Strike = (world: World) => boolean;

const someClient = (world: World, strike: (client: World['clients'][number]) => void): boolean => {
  const living = world.clients.filter(({ hasEnded }) => !hasEnded);
  if (living.length === 0) return false;
  strike(world.random.pick(living));
  return true;
};

const someLink = (world: World, strike: (link: Link) => void): boolean => {
  const standing = world.clients.flatMap(({ link }) => link ?? []);
  if (standing.length === 0) return false;
  strike(world.random.pick(standing));
  return true;
};

const replaceLater = (world: World): void => {
  world.clock.after(world.random.between(5, 200), () => void world.addClient());
};

/** A coordinator that has finished is not disturbed: its run is over. */
const server =
  (strike: (world: World) => void): Strike =>
  (world) => {
    if (!world.server.isAlive || world.server.isOver) return false;
    strike(world);
    return true;
  };

/** What can go wrong, by name. */
export const FAULTS: readonly (readonly [name: string, strike: Strike])[] = [
  [
    'kill a node',
    (world) =>
      someClient(world, (client) => {
        client.kill();
        replaceLater(world);
      }),
  ],
  [
    'lose a host',
    (world) =>
      someClient(world, (client) => {
        client.kill(true);
        replaceLater(world);
      }),
  ],
  ['stop a node', (world) => someClient(world, (client) => client.stop(world.random.between(10, 600)))],
  ['slow a node', (world) => someClient(world, (client) => client.slowDown(world.random.between(50, 600)))],
  ['hang a node', (world) => someClient(world, (client) => client.hang(world.random.between(50, 2500)))],
  [
    'a node leaves',
    (world) =>
      someClient(world, (client) => {
        client.leave();
        replaceLater(world);
      }),
  ],
  [
    'a node joins',
    (world) => {
      if (world.clients.length < 5) world.addClient();
      return true;
    },
  ],
  [
    'kill all nodes',
    (world) =>
      someClient(world, () => {
        for (const client of world.clients) client.kill(world.random.chance(0.3));
        replaceLater(world);
      }),
  ],
  ['cut a connection', (world) => someLink(world, (link) => link.cut())],
  ['pull a cable', (world) => someLink(world, (link) => link.sever())],
  [
    'hole towards a node',
    (world) => someLink(world, (link) => link.block('node', world.random.between(10, 500))),
  ],
  [
    'hole towards the coordinator',
    (world) => someLink(world, (link) => link.block('server', world.random.between(10, 500))),
  ],
  [
    'partition',
    (world) =>
      someLink(world, (link) => {
        const time = world.random.between(10, 500);
        link.block('node', time);
        link.block('server', time);
      }),
  ],
  ['kill the coordinator', server((world) => world.restartServer())],
  ['lose the coordinator’s host', server((world) => world.restartServer({ silently: true }))],
  ['stop the coordinator', server((world) => world.server.stop(world.random.between(10, 400)))],
  ['start another run', server((world) => world.restartServer({ another: true }))],
  ['interrupt', server((world) => world.server.interrupt())],
  [
    'fill the disk',
    (world) => {
      world.disk.fullUntil = world.clock.now + world.random.between(20, 300);
      return true;
    },
  ],
  ['damage a checkpoint', (world) => world.damageCheckpoint()],
];
