/**
 * Sockets that are read into one buffer each.
 *
 * Note [Reading into one buffer]: by default Node allocates 64 KiB outside of its heap for every read. At the rate of
 * gradients that alone starts a garbage collection every 30 ms, which costs more than reading, checking and copying
 * together (measured: 1.2 s of processor time per GB received; 0.3 s so). `net.connect` has an option for it, `onread`.
 * Sockets that a server accepted do not: there, the handle moves to a socket with that option. Where a Node has no such
 * handle, and under TLS, sockets are read as always, and ws hands over the messages.
 */
import type { Server } from 'node:http';
import { connect, type OnReadOpts, Socket, type SocketConstructorOpts } from 'node:net';

const READ_BYTES = 1 << 16;

type Take = (bytes: Uint8Array) => void;

/** Sockets with a buffer, and who takes what comes. Until someone does, it goes the usual way. */
const inlets = new WeakMap<Socket, { take: Take | undefined }>();

const createInlet = (make: (onread: OnReadOpts) => Socket): Socket => {
  const inlet: { take: Take | undefined } = { take: undefined };
  // No Buffer: its slice() would be a view of what the next read overwrites.
  const buffer = new Uint8Array(READ_BYTES);
  const socket = make({
    buffer,
    callback: (count) => {
      const bytes = buffer.subarray(0, count);
      if (inlet.take === undefined) readOn(socket, bytes);
      else inlet.take(bytes);
      return true;
    },
  });
  inlets.set(socket, inlet);
  return socket;
};

export const connectInlet = (host: string, port: number): Socket =>
  createInlet((onread) => connect({ host, port, onread }));

/** From now on `take` gets what comes on the socket, valid until it returns. False when this socket cannot do so. */
export const takeFrom = (socket: Socket, take: Take): boolean => {
  const inlet = inlets.get(socket);
  if (inlet !== undefined) inlet.take = take;
  return inlet !== undefined;
};

/** Lets listeners of `data` have these bytes. */
export const readOn = (socket: Socket, bytes: Uint8Array): void => {
  socket.push(Buffer.from(bytes));
};

/** What Node does not document: the handle of a socket, and the server that counts it. */
interface Accepted {
  _handle: object | null;
  _server: object | null;
}

/** Sockets that this server accepts from now on are inlets: all that listen to `connection` now get those. */
export const acceptInlets = (server: Server & { pauseOnConnect?: boolean }): void => {
  const listeners = server.listeners('connection');
  server.removeAllListeners('connection');
  server.pauseOnConnect = true;
  server.on('connection', (accepted: Socket) => {
    const socket = moved(accepted);
    for (const listener of listeners) listener.call(server, socket);
  });
};

const moved = (accepted: Socket): Socket => {
  const from = accepted as unknown as Accepted;
  if (from._handle === null || typeof from._handle !== 'object') {
    accepted.resume();
    return accepted;
  }
  const handle = from._handle;
  const socket = createInlet((onread) => {
    const options: SocketConstructorOpts & { handle: object; onread: OnReadOpts } = {
      handle,
      onread,
      allowHalfOpen: true,
    };
    return new Socket(options);
  });
  (socket as unknown as Accepted)._server = from._server;
  [from._handle, from._server] = [null, null];
  accepted.destroy();
  return socket;
};
