/** Why bytes from the wire were refused. The codes are stable: they are logged, counted and sent to the peer. */
export type ProtocolErrorCode =
  /** Not this protocol: the first bytes are someone else's. */
  | 'BAD_MAGIC'
  /** This protocol in another version. */
  | 'BAD_VERSION'
  /** The header's own checksum is wrong, or a reserved bit is set. */
  | 'BAD_HEADER'
  | 'UNKNOWN_TYPE'
  /** A shard range or an offset that no frame of this type can have. */
  | 'BAD_RANGE'
  /** A length that no frame of this type can have: empty, too long, or no whole number of floats. */
  | 'BAD_LENGTH'
  /** The payload is not what was sent. */
  | 'BAD_CHECKSUM'
  /** The stream ended inside of a frame. */
  | 'TRUNCATED'
  /** Bytes after an error: the stream has lost its place. */
  | 'BROKEN_STREAM'
  /** Not one whole MessagePack value. */
  | 'CONTROL_MALFORMED'
  /** MessagePack, but with extensions, binary, 64-bit integers, or keys that are no plain, different strings. */
  | 'CONTROL_FORBIDDEN'
  | 'CONTROL_TOO_DEEP'
  | 'CONTROL_TOO_LARGE'
  /** Plain data, but no message of this protocol. */
  | 'CONTROL_UNKNOWN'
  /** A NaN or an infinity where a finite sum is expected. */
  | 'NOT_FINITE';

/** Bytes that are refused. The connection they came on is to be closed; nothing of the frame was used. */
export class ProtocolError extends Error {
  override readonly name = 'ProtocolError';
  readonly code: ProtocolErrorCode;

  constructor(code: ProtocolErrorCode, message: string) {
    super(`${code}: ${message}`);
    this.code = code;
  }
}
