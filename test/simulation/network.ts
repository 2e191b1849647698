import { checksumOf, type FrameKey, type Header } from '@lockstep/protocol';
import type { Accept, Connection, ConnectionEvents } from '@lockstep/sync';
import type { Process } from './clock.ts';
import type { World } from './world.ts';

export type Side = 'node' | 'server';
const other = (side: Side): Side => (side === 'node' ? 'server' : 'node');

/** How bad the network of a seed is: the longest way, and chances per frame. */
export interface Weather {
  readonly slowest: number;
  /** Milliseconds of an action of the disk; a slow one is still writing when the next checkpoint is due. */
  readonly slowestWrite: number;
  /** Milliseconds that a bulk frame takes to leave. */
  readonly perFrame: number;
  /** Bulk frames that come twice. */
  readonly duplicate: number;
  /** Frames that come again on the next connection of the node. */
  readonly replay: number;
  /** Gradients that come a second time with other bits. */
  readonly flip: number;
  /** Gradients with which the link breaks: more of their unit is to come. */
  readonly breaks: number;
  /** Updates of weights with which the run is interrupted. */
  readonly interrupts: number;
}

interface Sent {
  readonly to: Side;
  readonly header: Header;
  readonly payload: Uint8Array;
}

/**
 * A link as TCP gives it (in order, or cut), or as a proxy spoils it (doubled, replayed on the next connection). Cutting it tells
 * both ends; severing it (a pulled cable, a dead host) tells nobody. Payloads are read when they leave, and are garbage as soon
 * as whoever received them has returned: as with sockets.
 */
export class Link {
  readonly ends: Readonly<Record<Side, LinkEnd>>;
  /** Frames for the next link of this node. */
  readonly replays: Sent[] = [];
  readonly #world: World;
  /** Per direction (towards a side): when the last frame has left and arrives, and until when nothing gets through. */
  readonly #left: Record<Side, number> = { node: 0, server: 0 };
  readonly #last: Record<Side, number> = { node: 0, server: 0 };
  readonly #blockedUntil: Record<Side, number> = { node: 0, server: 0 };
  #isSevered = false;
  /** The coordinator has said something. */
  #isKnown = false;

  constructor(world: World, id: number, processes: Readonly<Record<Side, Process>>) {
    this.#world = world;
    this.ends = {
      node: new LinkEnd(this, 'node', id, processes.node),
      server: new LinkEnd(this, 'server', id, processes.server),
    };
  }

  get isAlive(): boolean {
    return !this.#isSevered && this.ends.node.isOpen && this.ends.server.isOpen;
  }

  /** Gives when the frame has left, and reads its payload then. */
  send(from: Side, key: FrameKey, payload: Uint8Array): number {
    const { random, weather, clock } = this.#world;
    const to = other(from);
    const takes = key.type === 'control' ? 0 : random.between(0, weather.perFrame);
    const leaves = Math.max(clock.now, this.#left[to], this.#blockedUntil[to]) + takes;
    this.#left[to] = leaves;
    const arrives = Math.max(this.#last[to], leaves + random.between(0.3, weather.slowest));
    this.#last[to] = arrives;
    if (leaves === clock.now)
      this.#leave({ to, header: headerOf(key, payload), payload: new Uint8Array(payload) }, arrives);
    else
      clock.at(leaves, () =>
        this.#leave({ to, header: headerOf(key, payload), payload: new Uint8Array(payload) }, arrives),
      );
    return leaves;
  }

  #leave(sent: Sent, arrives: number): void {
    const { random, weather } = this.#world;
    const { header } = sent;
    this.#deliver(sent, arrives);
    const isBulk = header.type === 'gradient' || header.type === 'weights';
    if (isBulk && weather.duplicate > 0 && random.chance(weather.duplicate)) {
      this.#world.count('frame doubled');
      this.#deliver(sent, arrives + random.between(0, 60));
    }
    if (header.session > 0 && weather.replay > 0 && random.chance(weather.replay)) this.replays.push(sent);
    if (header.type === 'gradient' && weather.flip > 0 && random.chance(weather.flip)) {
      this.#world.count('gradient doubled with a flipped bit');
      const payload = sent.payload.slice();
      payload[random.integer(0, payload.length - 1) & ~3]! ^= 4;
      const flipped = { ...sent, payload, header: { ...header, checksum: checksumOf(payload) } };
      this.#deliver(flipped, arrives + random.between(0.1, 40));
    }
  }

  /** Delivers what an earlier link of the node carried. */
  replay(frames: readonly Sent[]): void {
    const { clock, random } = this.#world;
    for (const sent of frames) {
      clock.after(random.between(0, 60), () => {
        // Before its hello, a node that says anything is thrown out for good.
        if (!this.#isKnown) return;
        this.#world.count('frame of an earlier connection');
        this.#deliver(sent, clock.now);
      });
    }
  }

  /** An end closes: the other one hears of it after what was sent. */
  close(from: Side, code: string, message: string): void {
    this.#tell(from, code, message, 0);
    this.#tell(other(from), code, `closed by the other end: ${message}`, this.#world.random.between(0.3, 3));
  }

  cut(): void {
    this.#tell('node', 'CLOSED', 'cut', this.#world.random.between(0, 3));
    this.#tell('server', 'CLOSED', 'cut', this.#world.random.between(0, 3));
  }

  sever(): void {
    this.#isSevered = true;
  }

  /** A process at one of the ends is gone; silently: with its host. */
  lose(silently: boolean): void {
    if (silently) this.sever();
    else this.cut();
  }

  block(to: Side, time: number): void {
    this.#blockedUntil[to] = this.#world.clock.now + time;
  }

  #tell(to: Side, code: string, message: string, delay: number): void {
    const { clock } = this.#world;
    const at = delay === 0 ? clock.now : Math.max(clock.now, this.#blockedUntil[to], this.#last[to]) + delay;
    clock.at(at, () => {
      if (!this.#isSevered || delay === 0) this.ends[to].closed(code, message);
    });
  }

  #deliver({ to, header, payload }: Sent, at: number): void {
    this.#world.clock.at(at, () => {
      if (this.#isSevered) return;
      if (to === 'node') this.#isKnown = true;
      this.#world.trace(`${to} receives`, header.type, header.step);
      this.ends[to].receive(header, payload);
      if (header.type === 'gradient' && this.#world.breaksNow()) this.cut();
    });
  }
}

const headerOf = (key: FrameKey, payload: Uint8Array): Header => ({
  ...key,
  length: payload.byteLength,
  checksum: key.type === 'gradient' ? checksumOf(payload) : 0,
});

/** One side's end of a link, as drivers have it. */
export class LinkEnd implements Connection {
  readonly id: number;
  readonly peer: string;
  readonly buffered = 0;
  readonly link: Link;
  readonly #side: Side;
  readonly #process: Process;
  #events: ConnectionEvents | undefined;
  /** Nothing is received any more. */
  #isClosing = false;
  #leftAt = 0;

  constructor(link: Link, side: Side, id: number, process: Process) {
    this.link = link;
    this.#side = side;
    this.#process = process;
    this.id = id;
    this.peer = `link ${id}`;
  }

  get isOpen(): boolean {
    return this.#events !== undefined && !this.#isClosing && this.#process.isAlive;
  }

  join(accept: Accept): void {
    this.#events = accept(this);
  }

  send(key: FrameKey, payload: Uint8Array): void {
    if (!this.isOpen) return;
    this.#leftAt = this.link.send(this.#side, key, payload);
  }

  flushed(): Promise<void> {
    return this.#process.sleep(Math.max(0, this.#leftAt - this.#process.now()));
  }

  close(code = 'CLOSED', message = 'closed by this end'): void {
    if (this.#isClosing) return;
    this.#isClosing = true;
    this.link.close(this.#side, code, message);
  }

  receive(header: Header, payload: Uint8Array): void {
    this.#process.run(() => {
      if (this.#isClosing) return;
      const bytes = new Uint8Array(payload);
      this.#events?.frame(header, bytes);
      // Whoever kept it has garbage now.
      bytes.fill(0xff);
    });
  }

  closed(code: string, message: string): void {
    this.#process.run(() => {
      this.#isClosing = true;
      const events = this.#events;
      this.#events = undefined;
      events?.closed({ code, message });
    });
  }
}
