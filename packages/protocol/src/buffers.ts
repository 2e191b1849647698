/** Buffers for payloads on their way in. They are shared by all streams, so that one without a payload under way holds none. */

const SMALLEST = 1024;
/** Bytes that wait to be used again; more go back to the system. */
const MAX_FREE_BYTES = 8 << 20;

/** By size, a power of two. */
const free = new Map<number, Uint8Array[]>();
let freeBytes = 0;

/** A buffer of at least so many bytes; its content is what somebody else left there. */
export const takeBuffer = (bytes: number): Uint8Array => {
  const size = 2 ** Math.ceil(Math.log2(Math.max(bytes, SMALLEST)));
  const found = free.get(size)?.pop();
  if (found === undefined) return new Uint8Array(size);
  freeBytes -= size;
  return found;
};

/** Nobody uses it any more. */
export const giveBuffer = (buffer: Uint8Array): void => {
  if (buffer.byteLength === 0 || freeBytes + buffer.byteLength > MAX_FREE_BYTES) return;
  freeBytes += buffer.byteLength;
  const list = free.get(buffer.byteLength);
  if (list) list.push(buffer);
  else free.set(buffer.byteLength, [buffer]);
};
