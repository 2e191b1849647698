import type { Fence } from '@lockstep/protocol';
import type { ShardRange } from '@lockstep/sync';
import type { World } from './world.ts';

/** What goes over a connection. */
export type Frame = Fence & Content;
export type Content =
  | { readonly kind: 'hello' | 'welcome'; readonly attempt: number }
  | { readonly kind: 'ready' | 'ping' | 'pong' | 'leave' | 'finished' }
  | { readonly kind: 'assign'; readonly step: number; readonly units: readonly ShardRange[] }
  | { readonly kind: 'weights'; readonly step: number; readonly bucket: number; readonly value: number }
  | { readonly kind: 'computed'; readonly step: number; readonly milliseconds: number }
  | ({
      readonly kind: 'gradient';
      readonly step: number;
      readonly bucket: number;
      readonly value: number;
    } & ShardRange);

/** One side of a connection. */
export interface End {
  receive(frame: Frame, connection: Connection): void;
  closed(connection: Connection): void;
}

export type Side = 'node' | 'server';
const other = (side: Side): Side => (side === 'node' ? 'server' : 'node');

/** How bad the network of a seed is: chances per frame. */
export interface Weather {
  readonly slowest: number;
  readonly duplicate: number;
  readonly reorder: number;
  /** Frames that come again on the next connection of the node. */
  readonly replay: number;
  /** Gradients that come a second time with other bits. */
  readonly flip: number;
}

/**
 * A connection as TCP gives it (in order, or cut), or as a proxy spoils it (doubled, out of order, replayed). Cutting
 * it tells both ends; severing it (a pulled cable, a dead host) tells nobody.
 */
export class Connection {
  readonly id: number;
  readonly #world: World;
  readonly #ends: Readonly<Record<Side, End>>;
  readonly #open: Record<Side, boolean> = { node: true, server: true };
  /** Per direction (towards a side): when the last frame arrives, and until when nothing gets through. */
  readonly #last: Record<Side, number> = { node: 0, server: 0 };
  readonly #blockedUntil: Record<Side, number> = { node: 0, server: 0 };
  /** Frames for the next connection of this node. */
  readonly replays: { readonly to: Side; readonly frame: Frame }[] = [];
  #severed = false;
  #cut = false;

  constructor(world: World, id: number, node: End, server: End) {
    this.#world = world;
    this.id = id;
    this.#ends = { node, server };
  }

  get isAlive(): boolean {
    return !this.#severed && !this.#cut && this.#open.node && this.#open.server;
  }

  send(from: Side, frame: Frame): void {
    const { random, weather, clock } = this.#world;
    if (!this.#open[from]) return;
    const to = other(from);
    let at = Math.max(clock.now, this.#blockedUntil[to]) + random.between(0.5, weather.slowest);
    if (weather.reorder > 0 && random.chance(weather.reorder)) {
      at += random.between(0, 20);
      this.#world.count('frame out of order');
    } else {
      at = Math.max(at, this.#last[to]);
      this.#last[to] = at;
    }
    this.#deliver(to, frame, at);
    if (weather.duplicate > 0 && random.chance(weather.duplicate)) {
      this.#world.count('frame doubled');
      this.#deliver(to, frame, at + random.between(0, 60));
    }
    if (weather.replay > 0 && random.chance(weather.replay)) this.replays.push({ to, frame });
    if (frame.kind === 'gradient' && weather.flip > 0 && random.chance(weather.flip)) {
      this.#world.count('gradient doubled with a flipped bit');
      this.#deliver(to, { ...frame, value: (frame.value ^ 4) >>> 0 }, at + random.between(0.1, 40));
    }
  }

  /** Delivers what an earlier connection of the node carried. */
  replay(frames: readonly { readonly to: Side; readonly frame: Frame }[]): void {
    for (const { to, frame } of frames) {
      this.#world.count('frame of an earlier connection');
      this.#deliver(to, frame, this.#world.clock.now + this.#world.random.between(0, 60));
    }
  }

  /** One side closes: the other hears of it when the way is free. */
  close(from: Side): void {
    if (!this.#open[from]) return;
    this.#open[from] = false;
    this.#tell(other(from));
  }

  cut(): void {
    if (this.#cut) return;
    this.#cut = true;
    this.#tell('node');
    this.#tell('server');
  }

  sever(): void {
    this.#severed = true;
  }

  block(to: Side, time: number): void {
    this.#blockedUntil[to] = this.#world.clock.now + time;
  }

  #tell(to: Side): void {
    const { clock, random } = this.#world;
    const at = Math.max(clock.now, this.#blockedUntil[to], this.#last[to]) + random.between(0.5, 3);
    clock.at(at, () => {
      if (this.#severed || !this.#open[to]) return;
      this.#open[to] = false;
      this.#ends[to].closed(this);
    });
  }

  #deliver(to: Side, frame: Frame, at: number): void {
    this.#world.clock.at(at, () => {
      if (this.#severed || this.#cut || !this.#open[to]) return;
      this.#world.trace(`${to} receives`, frame.kind, 'step' in frame ? frame.step : frame.session);
      this.#ends[to].receive(frame, this);
    });
  }
}
