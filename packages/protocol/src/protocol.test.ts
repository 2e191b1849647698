import fc from 'fast-check';
import { Packr } from 'msgpackr';
import { describe, expect, test } from 'vitest';
import {
  CHUNK_FLOATS,
  type CoordinatorMessage,
  checkFinite,
  chunksOf,
  decodeCoordinatorMessage,
  decodeNodeMessage,
  encodeControl,
  encodeHeader,
  FRAME_TYPES,
  type Frame,
  FrameDecoder,
  type FrameKey,
  type FrameType,
  floatsOf,
  HEADER_BYTES,
  MAX_CHUNK_BYTES,
  MAX_CONTROL_BYTES,
  type NodeMessage,
  ProtocolError,
  type ProtocolErrorCode,
} from './index.ts';
import { checkPlain } from './msgpack.ts';

const key: FrameKey = {
  type: 'gradient',
  run: 0x0123_4567_89ab_cdefn,
  incarnation: 3,
  session: 9,
  step: 77,
  lo: 4,
  hi: 8,
  offset: 1000,
};
const join = (parts: readonly Uint8Array[]): Uint8Array => new Uint8Array(Buffer.concat(parts));
const frame = (over: Partial<FrameKey>, payload: Uint8Array): Uint8Array =>
  join([encodeHeader({ ...key, ...over }, payload), payload]);
/** All frames of a stream that is pushed in these pieces; payloads are copied out. */
const decodeAll = (pieces: readonly Uint8Array[]): Frame[] => {
  const frames: Frame[] = [];
  const decoder = new FrameDecoder(({ header, payload }) => {
    expect(payload.byteOffset % 4).toBe(0);
    frames.push({ header, payload: payload.slice() });
  });
  for (const piece of pieces) decoder.push(piece);
  decoder.end();
  return frames;
};
const codeOf = (work: () => void): ProtocolErrorCode | 'fine' => {
  try {
    work();
    return 'fine';
  } catch (error) {
    if (error instanceof ProtocolError) return error.code;
    throw error;
  }
};

const frames = fc
  .record({
    type: fc.constantFrom<FrameType>('control', 'gradient', 'weights', 'data', 'program'),
    run: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
    incarnation: fc.nat(),
    session: fc.nat(),
    step: fc.nat(),
    range: fc.tuple(fc.integer({ min: 0, max: 65_534 }), fc.integer({ min: 1, max: 50 })),
    offset: fc.nat(),
    words: fc.uint8Array({ minLength: 1, maxLength: 60 }),
  })
  .map(({ type, range: [lo, count], words, ...rest }) => {
    const { ranged, floats } = FRAME_TYPES[type];
    const payload = floats ? new Uint8Array(words.length * 4).fill(words[0]!) : words;
    return {
      key: { type, ...rest, lo: ranged ? lo : 0, hi: ranged ? Math.min(lo + count, 65_535) : 0 },
      payload,
    };
  });

describe('frames', () => {
  test('come out as they went in, however the stream is cut', () => {
    fc.assert(
      fc.property(
        fc.array(frames, { minLength: 1, maxLength: 4 }),
        fc.array(fc.nat(400), { maxLength: 30 }),
        (sent, at) => {
          const stream = join(sent.map(({ key, payload }) => join([encodeHeader(key, payload), payload])));
          const cuts = [0, ...at.map((x) => x % stream.length).sort((a, b) => a - b), stream.length];
          const got = decodeAll(cuts.slice(1).map((end, i) => stream.subarray(cuts[i], end)));
          expect(got.map(({ header: { length, checksum, ...key }, payload }) => ({ key, payload }))).toEqual(
            sent,
          );
        },
      ),
      { numRuns: 2000 },
    );
  });

  test('the layout is fixed', () => {
    const bytes = encodeHeader(key, Uint8Array.of(1, 2, 3, 4));
    expect(Buffer.from(bytes).toString('hex')).toBe(
      '4c4b535001020000efcdab896745230103000000090000004d00000004000800e803000004000000cdfb3cb64c47e0db',
    );
  });

  test('that lie whole and aligned in what is pushed are not copied', () => {
    const stream = frame({}, new Uint8Array(400));
    const decoder = new FrameDecoder(({ payload }) => expect(payload.buffer).toBe(stream.buffer));
    decoder.push(stream);
    expect(decoder.memory).toBe(HEADER_BYTES);
  });

  const mend = (bytes: Uint8Array): Uint8Array => {
    // Puts a fitting checksum over a header that was changed by hand.
    const { length } = bytes;
    const view = new DataView(bytes.buffer);
    for (let table = 0, crc = -1, i = 0; i < 44; i++) {
      table = (crc ^ bytes[i]!) & 255;
      for (let bit = 0; bit < 8; bit++) table = table & 1 ? (table >>> 1) ^ 0xedb88320 : table >>> 1;
      crc = (crc >>> 8) ^ table;
      if (i === 43) view.setUint32(44, ~crc >>> 0, true);
    }
    return bytes.subarray(0, length);
  };
  const changed = (change: (view: DataView) => void, mended = true): Uint8Array => {
    const bytes = frame({}, Uint8Array.of(1, 2, 3, 4));
    change(new DataView(bytes.buffer));
    return mended ? mend(bytes) : bytes;
  };

  test.each<[string, ProtocolErrorCode, Uint8Array]>([
    ['another protocol', 'BAD_MAGIC', new TextEncoder().encode('GET / HTTP')],
    ['another version', 'BAD_VERSION', changed((v) => v.setUint8(4, 2))],
    [
      'another version, only its first 8 bytes',
      'BAD_VERSION',
      changed((v) => v.setUint8(4, 9)).subarray(0, 8),
    ],
    ['a flipped bit in the header', 'BAD_HEADER', changed((v) => v.setUint8(36, 5), false)],
    ['a reserved bit', 'BAD_HEADER', changed((v) => v.setUint8(6, 1))],
    ['an unknown type', 'UNKNOWN_TYPE', changed((v) => v.setUint8(5, 77))],
    ['an empty range', 'BAD_RANGE', changed((v) => v.setUint16(30, 4, true))],
    ['weights of a range', 'BAD_RANGE', changed((v) => v.setUint8(5, FRAME_TYPES.weights.code))],
    [
      'an offset beyond all',
      'BAD_RANGE',
      changed((v) => v.setUint32(32, 2 ** 32 - 1, true) ?? v.setUint32(36, 8, true)),
    ],
    ['no payload', 'BAD_LENGTH', changed((v) => v.setUint32(36, 0, true))],
    ['half a float', 'BAD_LENGTH', changed((v) => v.setUint32(36, 6, true))],
    ['more than a chunk', 'BAD_LENGTH', changed((v) => v.setUint32(36, MAX_CHUNK_BYTES + 4, true))],
    ['2^32 - 1 bytes', 'BAD_LENGTH', changed((v) => v.setUint32(36, 2 ** 32 - 1, true))],
    ['a flipped bit in the payload', 'BAD_CHECKSUM', changed((v) => v.setUint8(50, 0))],
    ['half a header', 'TRUNCATED', changed(() => {}).subarray(0, 20)],
    ['half a payload', 'TRUNCATED', changed(() => {}).subarray(0, 50)],
  ])('%s: %s', (_, code, bytes) => {
    expect(codeOf(() => decodeAll([bytes]))).toBe(code);
    expect(codeOf(() => decodeAll([...bytes].map((byte) => Uint8Array.of(byte))))).toBe(code);
  });

  test('nothing is read after an error', () => {
    const decoder = new FrameDecoder(() => {});
    expect(codeOf(() => decoder.push(new Uint8Array(8)))).toBe('BAD_MAGIC');
    expect(codeOf(() => decoder.push(frame({}, new Uint8Array(4))))).toBe('BROKEN_STREAM');
  });

  test.each<[ProtocolErrorCode, Partial<FrameKey>, number]>([
    ['BAD_LENGTH', {}, 0],
    ['BAD_LENGTH', {}, 5],
    ['BAD_LENGTH', {}, MAX_CHUNK_BYTES + 4],
    ['BAD_LENGTH', { type: 'control', lo: 0, hi: 0 }, MAX_CONTROL_BYTES + 1],
    ['BAD_RANGE', { lo: 8 }, 4],
  ])('are not made when nobody would take them: %s', (code, over, bytes) => {
    expect(codeOf(() => frame(over, new Uint8Array(bytes)))).toBe(code);
  });
});

describe('hostile bytes', () => {
  /** Counts what became of inputs: anything but a ProtocolError is a failure. */
  const outcomes = (inputs: number, make: fc.Arbitrary<Uint8Array[]>): Map<string, number> => {
    const counts = new Map<string, number>();
    fc.assert(
      fc.property(make, (pieces) => {
        const decoder = new FrameDecoder(({ header, payload }) => {
          if (header.type === 'control') decodeNodeMessage(payload);
        });
        const code = codeOf(() => {
          for (const piece of pieces) decoder.push(piece);
          decoder.end();
        });
        counts.set(code, (counts.get(code) ?? 0) + 1);
        if (decoder.memory > HEADER_BYTES + MAX_CHUNK_BYTES) throw new Error(`${decoder.memory} bytes held`);
      }),
      { numRuns: inputs },
    );
    return counts;
  };

  const noise = fc.array(fc.uint8Array({ maxLength: 80 }), { maxLength: 3 });
  const good = [
    frame({}, Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8)),
    ...[{ type: 'pong' } as const, { type: 'need', what: 'data', from: 12 } as const].map((message) =>
      frame({ type: 'control', lo: 0, hi: 0 }, encodeControl(message)),
    ),
  ];
  const flips = fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 0, maxLength: 3 });
  const damaged = fc.tuple(fc.constantFrom(...good), flips, fc.nat(400)).map(([bytes, changes, cut]) => {
    const copy = bytes.slice();
    for (const [at, value] of changes) copy[at % copy.length] = value;
    return [copy.subarray(0, cut % copy.length), copy.subarray(cut % copy.length)];
  });
  /** Whatever MessagePack, in a frame with fitting checksums. */
  const control = fc
    .uint8Array({ minLength: 1, maxLength: 60 })
    .map((payload) => [frame({ type: 'control', lo: 0, hi: 0 }, payload)]);

  test('100,000 and more inputs end in frames or in stable codes, with memory for one chunk', () => {
    const all = [outcomes(20_000, noise), outcomes(40_000, damaged), outcomes(45_000, control)];
    const total = new Map<string, number>();
    for (const counts of all) for (const [code, n] of counts) total.set(code, (total.get(code) ?? 0) + n);
    expect([...total.values()].reduce((a, b) => a + b)).toBe(105_000);
    // A fuzzer that never gets anywhere proves nothing.
    const reached = ['fine', 'BAD_MAGIC', 'BAD_VERSION', 'BAD_HEADER', 'BAD_CHECKSUM', 'TRUNCATED'];
    reached.push('CONTROL_MALFORMED', 'CONTROL_FORBIDDEN', 'CONTROL_UNKNOWN');
    expect(reached.filter((code) => !total.has(code))).toEqual([]);
  });

  test('a claim of a full chunk costs that chunk at most, once', () => {
    const decoder = new FrameDecoder(() => {});
    const header = encodeHeader({ ...key, type: 'data', lo: 0, hi: 0 }, new Uint8Array(MAX_CHUNK_BYTES));
    decoder.push(header);
    expect(decoder.memory).toBe(HEADER_BYTES);
    for (let i = 0; i < 100; i++) decoder.push(new Uint8Array(1000));
    expect(decoder.memory).toBe(HEADER_BYTES + MAX_CHUNK_BYTES);
  });

  test('a stream without a frame under way holds nothing, whatever came before; many use the same buffers', () => {
    const whole = frame({ type: 'data', lo: 0, hi: 0 }, new Uint8Array(MAX_CHUNK_BYTES));
    const seen = new Set<ArrayBufferLike>();
    const decoders = Array.from(
      { length: 50 },
      () => new FrameDecoder(({ payload }) => seen.add(payload.buffer)),
    );
    for (const decoder of decoders) {
      decoder.push(whole.subarray(0, 1000));
      expect(decoder.memory).toBe(HEADER_BYTES + MAX_CHUNK_BYTES);
      decoder.push(whole.subarray(1000));
      expect(decoder.memory).toBe(HEADER_BYTES);
    }
    expect(seen.size).toBe(1);
  });
});

describe('control messages', () => {
  const hash = 'ab'.repeat(32);
  const content = { hash, bytes: 123_456_789_012 % 2 ** 34 };
  const said: NodeMessage[] = [
    {
      type: 'hello',
      id: 'ab'.repeat(8),
      attempt: 1,
      name: 'a node-1',
      workers: 2,
      kernels: 'native-avx512',
      arithmetic: 'strict',
      proof: hash,
    },
    { type: 'pong' },
    { type: 'computed', step: 7, milliseconds: 12.5 },
    { type: 'ready' },
    { type: 'need', what: 'program', from: 2 ** 33 },
    { type: 'leave' },
  ];
  const told: CoordinatorMessage[] = [
    {
      type: 'welcome',
      attempt: 1,
      heartbeat: 2000,
      definition: hash,
      shards: 8,
      steps: 4_000_000_000,
      parameters: 101_770,
      program: content,
      data: content,
    },
    { type: 'ping' },
    { type: 'assign', step: 100, units: Array.from({ length: 512 }, (_, i) => [i * 64, i * 64 + 64]) },
    { type: 'finished', step: 640, digest: hash },
    { type: 'finished', step: 640, digest: null },
    { type: 'refused', code: 'BAD_PROOF', message: 'the arithmetic of this machine differs' },
  ];
  test.each(said.map((message) => [message.type, message] as const))('%s', (_, message) =>
    expect(decodeNodeMessage(encodeControl(message))).toEqual(message),
  );
  test.each(told.map((message) => [message.type, message] as const))('%s', (_, message) =>
    expect(decodeCoordinatorMessage(encodeControl(message))).toEqual(message),
  );

  const bytes = (hex: string): Uint8Array => new Uint8Array(Buffer.from(hex.replaceAll(' ', ''), 'hex'));
  const packed = (value: unknown): Uint8Array => new Packr({ useRecords: false }).pack(value);
  const shared = new Packr({ structures: [] });
  test.each<[string, ProtocolErrorCode, Uint8Array]>([
    ['nothing', 'CONTROL_MALFORMED', bytes('')],
    ['two values', 'CONTROL_MALFORMED', bytes('c0 c0')],
    ['a string that ends early', 'CONTROL_MALFORMED', bytes('a5 61')],
    ['a string that is not UTF-8', 'CONTROL_MALFORMED', bytes('a1 ff')],
    ['an array of 2^32 - 1', 'CONTROL_MALFORMED', bytes('dd ffffffff')],
    ['a map of 2^32 - 1', 'CONTROL_MALFORMED', bytes('df ffffffff')],
    ['an array of 3000', 'CONTROL_TOO_LARGE', packed(new Array(3000).fill(1))],
    ['arrays in arrays', 'CONTROL_TOO_DEEP', bytes('91'.repeat(1000))],
    ['maps in maps', 'CONTROL_TOO_DEEP', bytes('81a161'.repeat(1000))],
    ['64 KiB and one byte', 'CONTROL_TOO_LARGE', packed('x'.repeat(MAX_CONTROL_BYTES))],
    ['binary', 'CONTROL_FORBIDDEN', packed(Buffer.alloc(4))],
    ['an extension', 'CONTROL_FORBIDDEN', bytes('d4 01 00')],
    ['a time', 'CONTROL_FORBIDDEN', packed(new Date(0))],
    ['a RegExp', 'CONTROL_FORBIDDEN', new Packr({ moreTypes: true }).pack(/a/)],
    ['an Error', 'CONTROL_FORBIDDEN', new Packr({ moreTypes: true }).pack(new Error('a'))],
    ['a Set', 'CONTROL_FORBIDDEN', new Packr({ moreTypes: true }).pack(new Set([1]))],
    ['a typed array', 'CONTROL_FORBIDDEN', new Packr({ moreTypes: true }).pack(Float32Array.of(1))],
    ['a record', 'CONTROL_FORBIDDEN', new Packr().pack({ type: 'pong' })],
    ['a record of a shared structure', 'CONTROL_MALFORMED', shared.pack({ type: 'pong' })],
    ['undefined', 'CONTROL_FORBIDDEN', packed(undefined)],
    ['a 64-bit integer', 'CONTROL_FORBIDDEN', packed(2n ** 60n)],
    ['a number as key', 'CONTROL_FORBIDDEN', bytes('81 01 01')],
    ['a key twice', 'CONTROL_FORBIDDEN', bytes('82 a161 01 a161 02')],
    ['__proto__', 'CONTROL_FORBIDDEN', bytes('81 a9 5f5f70726f746f5f5f 80')],
    ['a bare number', 'CONTROL_UNKNOWN', packed(1)],
    ['another type', 'CONTROL_UNKNOWN', packed({ type: 'shutdown' })],
    ['a message of the other side', 'CONTROL_UNKNOWN', packed({ type: 'ping' })],
    ['a field too many', 'CONTROL_UNKNOWN', packed({ type: 'pong', x: 1 })],
    ['a name that is a path', 'CONTROL_UNKNOWN', packed({ ...said[0], name: '../../etc' })],
    ['a name that moves the cursor', 'CONTROL_UNKNOWN', packed({ ...said[0], name: 'a\u001b[2J' })],
    ['a fraction of workers', 'CONTROL_UNKNOWN', packed({ ...said[0], workers: 1.5 })],
  ])('refused: %s', (_, code, payload) => expect(codeOf(() => decodeNodeMessage(payload))).toBe(code));

  test('words for people cannot move the cursor of a terminal', () => {
    const refused = { type: 'refused', code: 'A\u001b[2J', message: 'é: \u202eevil\r\nlines' } as const;
    expect(decodeCoordinatorMessage(encodeControl(refused))).toEqual({
      ...{ type: 'refused', code: 'A?[2J', message: 'é: ?evil??lines' },
    });
    const hello = { ...said[0], kernels: '\u001b]0;title\u0007' } as NodeMessage;
    expect(decodeNodeMessage(encodeControl(hello))).toMatchObject({ kernels: '?]0;title?' });
  });

  test('every plain value that msgpackr writes passes', () => {
    const limits = { depth: 20, values: 10_000 };
    const plain = fc.object({
      maxDepth: 3,
      key: fc.string({ unit: 'grapheme' }).filter((name) => name !== '__proto__'),
      values: [fc.string({ unit: 'grapheme' }), fc.integer(), fc.double(), fc.boolean(), fc.constant(null)],
    });
    fc.assert(fc.property(plain, (value) => checkPlain(packed(value), limits)));
  });
});

describe('floats', () => {
  test.each([0, 1, 1000, CHUNK_FLOATS, CHUNK_FLOATS + 1, 3 * CHUNK_FLOATS])('%i cut into chunks', (count) => {
    const values = Float32Array.from({ length: count }, (_, i) => i);
    const back = new Float32Array(count);
    for (const { offset, payload } of chunksOf(values)) {
      expect(payload.byteLength).toBeLessThanOrEqual(MAX_CHUNK_BYTES);
      back.set(floatsOf(payload), offset);
    }
    expect(Buffer.from(back.buffer).equals(Buffer.from(values.buffer))).toBe(true);
  });

  test.each([
    [Number.NaN, 'NOT_FINITE'],
    [Number.POSITIVE_INFINITY, 'NOT_FINITE'],
    [Number.NEGATIVE_INFINITY, 'NOT_FINITE'],
    [3.4e38, 'fine'],
    [-0, 'fine'],
  ])('%d: %s', (value, code) => expect(codeOf(() => checkFinite(Float32Array.of(0, value)))).toBe(code));
});
