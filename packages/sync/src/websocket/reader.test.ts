/** Streams of WebSocket frames, honest and random, cut anywhere. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { webSocketFrame } from '../../test/peers.ts';
import { TransportError } from './errors.ts';
import { MAX_PARTS, MessageReader } from './reader.ts';

describe('the reader of a stream', () => {
  /** What is taken and passed on of a stream in these pieces. */
  const read = (isServer: boolean, pieces: readonly Uint8Array[]) => {
    const messages: number[][] = [];
    const passed: number[] = [];
    let open: number[] = [];
    const reader = new MessageReader(isServer, {
      part: (bytes) => open.push(...bytes),
      end: () => {
        messages.push(open);
        open = [];
      },
      pass: (bytes) => passed.push(...bytes),
    });
    for (const piece of pieces) reader.push(piece);
    return { messages, passed };
  };
  const cut = (stream: Uint8Array, at: readonly number[]): Uint8Array[] => {
    const cuts = [0, ...at.map((x) => x % (stream.length + 1)).sort((a, b) => a - b), stream.length];
    return cuts.slice(1).map((end, i) => stream.subarray(cuts[i], end));
  };
  const payloads = fc.uint8Array({ maxLength: 300 });
  const items = fc.array(
    fc.oneof(
      fc.record({
        kind: fc.constant('taken' as const),
        parts: fc.array(payloads, { minLength: 1, maxLength: MAX_PARTS }),
      }),
      fc.record({
        kind: fc.constant('passed' as const),
        opcode: fc.constantFrom(1, 9, 10),
        payload: fc.uint8Array({ maxLength: 125 }),
      }),
      fc.record({ kind: fc.constant('masked' as const), payload: payloads }),
    ),
    { maxLength: 8 },
  );

  test('takes plain messages and passes on all else as it came, however the stream is cut', () => {
    fc.assert(
      fc.property(fc.boolean(), items, fc.array(fc.nat(), { maxLength: 20 }), (isServer, sent, at) => {
        const mask = isServer ? { mask: [0, 0, 0, 0] } : { mask: null };
        const frames = sent.flatMap((item) => {
          if (item.kind === 'passed') return [webSocketFrame(item.opcode, item.payload, mask)];
          if (item.kind === 'masked') return [webSocketFrame(2, item.payload, { mask: [9, 0, 0, 0] })];
          return item.parts.map((part, i) =>
            webSocketFrame(i === 0 ? 2 : 0, part, { fin: i === item.parts.length - 1, ...mask }),
          );
        });
        const stream = Uint8Array.from(frames.flatMap((frame) => [...frame]));
        const { messages, passed } = read(isServer, cut(stream, at));
        expect(messages).toEqual(
          sent.flatMap((item) => (item.kind === 'taken' ? [item.parts.flatMap((part) => [...part])] : [])),
        );
        const others = frames.filter((_, i) => kinds(sent)[i] !== 'taken');
        expect(passed).toEqual(others.flatMap((frame) => [...frame]));
      }),
      { numRuns: 1000 },
    );
  });
  const kinds = (sent: readonly { kind: string; parts?: readonly unknown[] }[]): string[] =>
    sent.flatMap(({ kind, parts }) => Array<string>(parts?.length ?? 1).fill(kind));

  test('100,000 streams of anything: no error but refusals, no more held than a header', () => {
    const first = fc.constantFrom(0x02, 0x82, 0x00, 0x80, 0x81, 0x88, 0x89, 0xc2, 0xff);
    const second = fc.constantFrom(0, 5, 125, 126, 127, 128, 133, 254, 255);
    const pieces = fc.array(fc.tuple(first, second, fc.uint8Array({ maxLength: 20 })), { maxLength: 6 });
    const counts = { fine: 0, refused: 0 };
    fc.assert(
      fc.property(fc.boolean(), pieces, fc.nat(60), (isServer, parts, at) => {
        const stream = Uint8Array.from(parts.flatMap(([a, b, rest]) => [a, b, ...rest]));
        try {
          read(isServer, cut(stream, [at]));
          counts.fine++;
        } catch (error) {
          if (!(error instanceof TransportError)) throw error;
          counts.refused++;
        }
      }),
      { numRuns: 100_000 },
    );
    expect(counts.fine).toBeGreaterThan(1000);
    expect(counts.refused).toBeGreaterThan(1000);
  });
});
