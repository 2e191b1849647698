/** A node on the other end of a connection, as the coordinator's driver knows it. */
import {
  type CoordinatorMessage,
  encodeControl,
  type Fence,
  type FrameKey,
  type NodeMessage,
} from '@lockstep/protocol';
import type { Connection } from '../transport/transport.ts';
import { ClockOffset, wallClock } from './clock.ts';
import type { Content, NodeInfo, Traffic } from './coordinatorHost.ts';
import type { ModelReceiver } from './dataPlane.ts';
import { Copies } from './published.ts';

/** Bytes of content that may wait in a connection. */
const MOST_BUFFERED = 4 << 20;
const CHUNK_BYTES = 1 << 20;

export class Peer implements ModelReceiver {
  readonly connection: Connection;
  /** Until the core has given it one: 0. */
  session = 0;
  hello: (NodeMessage & { type: 'hello' }) | undefined;
  /** What it was sent of the models. */
  readonly copies = new Copies();
  readonly #fence: Omit<Fence, 'session'>;
  readonly #traffic: Traffic;
  /** What it is being sent. */
  readonly #streams = new Set<'program' | 'data'>();
  /** Whether its profile is still to come; undefined: it is not ready to measure. */
  #profiles: boolean | undefined;
  readonly #clock = new ClockOffset();
  #isGone = false;

  /** @param traffic where the bytes of weights that it is sent are counted */
  constructor(connection: Connection, { run, incarnation }: Omit<Fence, 'session'>, traffic: Traffic) {
    this.connection = connection;
    this.#traffic = traffic;
    this.#fence = { run, incarnation };
  }

  /** Undefined before its hello. */
  get node(): NodeInfo | undefined {
    if (this.hello === undefined) return undefined;
    const { id, name, workers, kernels } = this.hello;
    return { session: this.session, id, name, peer: this.connection.peer, workers, kernels };
  }

  control(message: CoordinatorMessage): void {
    this.connection.send(this.#key('control', 0, 0), encodeControl(message));
  }

  refuse(code: string, message: string): void {
    this.control({ type: 'refused', code, message: message.slice(0, 1000) });
    this.connection.close(code, message);
  }

  weights(step: number, offset: number, { buffer, byteOffset, byteLength }: Float32Array): void {
    this.connection.send(this.#key('weights', step, offset), new Uint8Array(buffer, byteOffset, byteLength));
    this.#traffic.sent += byteLength;
  }

  kept(step: number, from: number, to: number): void {
    this.control({ type: 'kept', step, from, to });
  }

  flushed(): Promise<void> {
    return this.connection.flushed();
  }

  /** Sends content in chunks from a byte on, as fast as they are taken. */
  async stream(what: 'program' | 'data', content: Content, from: number): Promise<void> {
    const { connection } = this;
    if (this.#streams.has(what) || from % 4 !== 0 || from > content.length) return;
    this.#streams.add(what);
    for (let at = from; at < content.length && !this.#isGone; ) {
      if (connection.buffered > MOST_BUFFERED) await connection.flushed();
      const chunk = content.read(at, Math.min(at + CHUNK_BYTES, content.length));
      connection.send(this.#key(what, 0, at / 4), chunk);
      at += chunk.byteLength;
    }
    // What is asked for again is sent again, but not before the first has left.
    await connection.flushed();
    this.#streams.delete(what);
  }

  /** The connection is no more. */
  gone(): void {
    this.#isGone = true;
  }

  // What it measures

  /** It is ready to measure. */
  ready(): void {
    this.#profiles ??= true;
  }

  /** Again with each step until they are measured: the clocks are compared each time. */
  askForProfile(steps: { readonly from: number; readonly to: number }, step: number): void {
    if (!this.#profiles || step > steps.to + 1) return;
    this.#clock.ask(wallClock());
    this.control({ type: 'profile', ...steps, done: step });
  }

  /** Its clock shows so many milliseconds. */
  time(milliseconds: number): void {
    this.#clock.answer(milliseconds, wallClock());
  }

  /** Its profile is here: gives how far its clock is ahead, in milliseconds; undefined: nobody waits for it. */
  profiled(): number | undefined {
    if (!this.#profiles) return undefined;
    this.#profiles = false;
    return this.#clock.ahead;
  }

  #key(type: FrameKey['type'], step: number, offset: number): FrameKey {
    return { ...this.#fence, session: this.session, type, step, lo: 0, hi: 0, offset };
  }
}
