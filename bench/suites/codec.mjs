/** Frames on the wire: what the checksum and the header cost, from memory to memory, on one thread. */
import { crc32 as zlibCrc32 } from 'node:zlib';
import { crc32 } from '@lockstep/kernels';
import { encodeHeader, FrameDecoder } from '@lockstep/protocol';
import { medianCall } from './calls.mjs';

const SIZES = { '64 KiB': 1 << 16, '1 MiB': 1 << 20 };
const FENCE = { run: 1n, incarnation: 1, session: 1 };

/** @type {import('../suites.mjs').Suite} */
export const codec = {
  unit: 'GB/s',
  cases: (seconds) =>
    Object.entries(SIZES).flatMap(([size, bytes]) => {
      const payload = Uint8Array.from({ length: bytes }, (_, i) => (i * 7919) % 251);
      const write = () =>
        encodeHeader({ type: 'gradient', ...FENCE, step: 1, lo: 0, hi: 1, offset: 0 }, payload);
      const header = write();
      const whole = Buffer.concat([header, payload]);
      const decoder = new FrameDecoder(() => {});
      const calls = {
        'CRC-32 by zlib': () => void zlibCrc32(payload),
        'CRC-32 alone': () => void crc32(payload),
        write: () => void write(),
        'read, header and payload apart': () => {
          decoder.push(header);
          decoder.push(payload);
        },
        'read, in pieces of 16 KiB': () => {
          for (let at = 0; at < whole.length; at += 1 << 14) decoder.push(whole.subarray(at, at + (1 << 14)));
        },
      };
      return Object.entries(calls).map(([what, call]) => ({
        name: `${what}, ${size}`,
        measure: async () => bytes / (await medianCall(call, seconds / 2)) / 1e6,
      }));
    }),
};
