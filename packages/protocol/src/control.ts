import { Packr, Unpackr } from 'msgpackr';
import type { ZodType } from 'zod';
import { ProtocolError } from './errors.ts';
import { MAX_CONTROL_BYTES } from './header.ts';
import { type CoordinatorMessage, coordinatorMessage, type NodeMessage, nodeMessage } from './messages.ts';
import { checkPlain } from './msgpack.ts';

/** The largest message is an assignment: 512 units of 3 values. */
const LIMITS = { depth: 4, values: 2048 };

const packr = new Packr({ useRecords: false, variableMapSize: true });
const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: true });

/** The payload of a control frame. Throws a ProtocolError when it is not a message that the peer would take. */
export const encodeControl = (message: NodeMessage | CoordinatorMessage): Uint8Array => {
  const bytes = packr.pack(message);
  checkPlain(bytes, LIMITS);
  return bytes;
};

/** Reads what a node says. Only for authenticated peers. Throws a ProtocolError. */
export const decodeNodeMessage = (payload: Uint8Array): NodeMessage => decode(nodeMessage, payload);

/** Reads what the coordinator says. Throws a ProtocolError. */
export const decodeCoordinatorMessage = (payload: Uint8Array): CoordinatorMessage =>
  decode(coordinatorMessage, payload);

const decode = <T>(schema: ZodType<T>, payload: Uint8Array): T => {
  if (payload.byteLength > MAX_CONTROL_BYTES) {
    throw new ProtocolError(
      'CONTROL_TOO_LARGE',
      `${payload.byteLength} bytes of at most ${MAX_CONTROL_BYTES}`,
    );
  }
  checkPlain(payload, LIMITS);
  const parsed = schema.safeParse(unpackr.unpack(payload));
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw new ProtocolError(
    'CONTROL_UNKNOWN',
    `${issue?.path.join('.') || 'message'}: ${issue?.message.slice(0, 200)}`,
  );
};
