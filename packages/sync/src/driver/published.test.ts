/** What nodes are sent of the models. */
import { expect, test } from 'vitest';
import { Copies, Published } from './published.ts';

interface Node {
  readonly name: string;
  readonly copies: Copies;
}

/** The model that the run begins with: three buckets of one number. */
const FIRST = [10, 20, 30];

/** Tells what happens, one line each: `a 5.1=42` is bucket 1 of the model before step 5 with the number 42 to node a. */
class Scene {
  readonly told: string[] = [];
  readonly #nodes = new Map<string, Node>();
  readonly #published = new Published<Node>({
    buckets: FIRST.length,
    first: () => FIRST.map((value) => Float32Array.of(value)),
    send: ({ name }, step, bucket, [value]) => this.told.push(`${name} ${step}.${bucket}=${value}`),
    kept: ({ name }, step, from, to) => this.told.push(`${name} ${step}.${from}-${to} kept`),
  });

  /** From now on it gets what is published; now it gets what there is. */
  join(name: string, step: number): void {
    const node = { name, copies: new Copies() };
    this.#nodes.set(name, node);
    this.#published.complete(step, node);
  }

  /** From now on it gets nothing. */
  leave(name: string): void {
    this.#nodes.delete(name);
  }

  complete(name: string, step: number): void {
    this.#published.complete(step, this.#nodes.get(name)!);
  }

  publish(step: number, bucket: number, value: number): void {
    this.#published.publish(step, bucket, Float32Array.of(value), this.#nodes.values());
  }

  keep(step: number, from: number, to: number): void {
    this.#published.keep(step, from, to, this.#nodes.values());
  }

  forget(step: number): void {
    const { buckets, nodes } = this.#published.forget(step);
    const from = [...nodes].map(({ name }) => name);
    this.told.push(`released ${buckets.map(([value]) => value)}${from.length > 0 ? ` sent to ${from}` : ''}`);
  }

  check(step: number): void {
    this.#published.checkAll(step);
  }

  model(step: number): (number | undefined)[] {
    return this.#published.model(step).map(([value]) => value);
  }
}

test.each<[string, (scene: Scene) => void, string[]]>([
  ['who joins gets the whole model', (s) => s.join('a', 5), ['a 5.0=10', 'a 5.1=20', 'a 5.2=30']],
  [
    'and nothing of it twice',
    (s) => {
      s.join('a', 5);
      s.complete('a', 5);
      s.join('b', 5);
    },
    ['a 5.0=10', 'a 5.1=20', 'a 5.2=30', 'b 5.0=10', 'b 5.1=20', 'b 5.2=30'],
  ],
  [
    'who was sent a bucket as it was published lacks the others only',
    (s) => {
      s.join('a', 5);
      s.told.length = 0;
      s.publish(6, 1, 21);
      s.publish(6, 0, 11);
      s.complete('a', 6);
      s.publish(6, 2, 31);
      s.complete('a', 6);
    },
    ['a 6.1=21', 'a 6.0=11', 'a 6.2=31'],
  ],
  [
    'who joins while a model comes into being gets the one before it, then what is still to come, and then the rest',
    (s) => {
      s.join('a', 5);
      s.publish(6, 0, 11);
      s.told.length = 0;
      s.join('b', 5);
      s.publish(6, 1, 21);
      s.publish(6, 2, 31);
      s.forget(5);
      s.complete('a', 6);
      s.complete('b', 6);
    },
    [
      'b 5.0=10',
      'b 5.1=20',
      'b 5.2=30',
      'a 6.1=21',
      'b 6.1=21',
      'a 6.2=31',
      'b 6.2=31',
      'released 10,20,30 sent to a,b',
      'b 6.0=11',
    ],
  ],
  [
    'pieces that a node has are kept, once; they are released with the last model that they are of',
    (s) => {
      s.join('a', 5);
      s.told.length = 0;
      s.keep(6, 1, 3);
      s.publish(6, 0, 11);
      s.complete('a', 6);
      s.forget(5);
      s.keep(7, 0, 3);
      s.forget(6);
      s.publish(8, 0, 12);
      s.publish(8, 1, 22);
      s.keep(8, 2, 3);
      s.forget(7);
    },
    [
      'a 6.1-3 kept',
      'a 6.0=11',
      'released 10 sent to a',
      'a 7.0-3 kept',
      'released ',
      'a 8.0=12',
      'a 8.1=22',
      'a 8.2-3 kept',
      'released 11,20 sent to a',
    ],
  ],
  [
    'pieces that a node has not are sent: it missed the model that they are of',
    (s) => {
      s.join('a', 5);
      s.publish(6, 0, 11);
      s.publish(6, 1, 21);
      s.told.length = 0;
      s.join('b', 5);
      s.keep(6, 2, 3);
      s.keep(7, 0, 2);
    },
    [
      'b 5.0=10',
      'b 5.1=20',
      'b 5.2=30',
      'a 6.2-3 kept',
      'b 6.2-3 kept',
      'a 7.0-2 kept',
      'b 7.0=11',
      'b 7.1=21',
    ],
  ],
  [
    'who is sent nothing of a model is not waited for: one that does not read keeps what it was sent, and no more',
    (s) => {
      s.join('slow', 5);
      s.join('b', 5);
      s.leave('slow');
      for (const [bucket, value] of [11, 21, 31].entries()) s.publish(6, bucket, value);
      s.publish(7, 0, 12);
      s.told.length = 0;
      s.forget(5);
      s.forget(6);
    },
    ['released 10,20,30 sent to slow,b', 'released 11,21,31 sent to b'],
  ],
  ['a model that is not there is forgotten', (s) => s.forget(3), ['released ']],
])('%s', (_, happen, told) => {
  const scene = new Scene();
  happen(scene);
  expect(scene.told).toEqual(told);
});

test('a model is what there is of it', () => {
  const scene = new Scene();
  expect(scene.model(5)).toEqual(FIRST);
  scene.publish(6, 2, 31);
  expect(scene.model(6)).toEqual([31]);
  scene.keep(6, 0, 2);
  expect(scene.model(6)).toEqual([10, 20, 31]);
  expect(scene.model(5)).toEqual(FIRST);
});

test('a bucket that is published twice, or kept where it is published, or missing, is never sent', () => {
  const scene = new Scene();
  scene.join('a', 5);
  scene.publish(6, 0, 11);
  const before = [...scene.told];
  expect(() => scene.publish(6, 0, 12)).toThrow(
    'bucket 0 of the model before step 6 is published a second time',
  );
  expect(() => scene.keep(6, 0, 1)).toThrow('bucket 0 of the model before step 6 is published a second time');
  expect(() => scene.publish(5, 1, 12)).toThrow(
    'bucket 1 of the model before step 5 is published a second time',
  );
  expect(() => scene.keep(8, 1, 2)).toThrow('bucket 1 of the model before step 7 is not published');
  expect(() => scene.check(6)).toThrow('bucket 1 of the model before step 6 is not published');
  expect(scene.told).toEqual(before);
  scene.keep(6, 1, 3);
  expect(() => scene.check(6)).not.toThrow();
});
