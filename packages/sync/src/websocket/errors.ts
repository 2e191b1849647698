/** Why a connection was refused or ended. The codes are stable: they are logged, counted and told to the peer. */
export const TRANSPORT_CODES = {
  // At the door, as an HTTP response with this status.
  /** The Host header names someone else: a browser was led here by a name that its page controls. */
  HOST_NOT_ALLOWED: 403,
  /** A web page wants to connect, and it is not one of those allowed. */
  ORIGIN_NOT_ALLOWED: 403,
  /** No proof of the token came, and one is needed. */
  TOKEN_REQUIRED: 401,
  /** The peer does not know the token. */
  TOKEN_WRONG: 401,
  /** The peer proves a token, and there is none here. */
  TOKEN_UNEXPECTED: 400,
  /** The proof is over a nonce that was not given out on this connection, or was used before: a replay. */
  NONCE_UNKNOWN: 401,
  NOT_FOUND: 404,
  /** The peer speaks another version of the protocol. */
  BAD_VERSION: 400,
  /** No HTTP that we read. */
  HTTP_MALFORMED: 400,
  HTTP_TOO_LARGE: 431,
  /** The peer did not send its request, or prove the token, in time. */
  AUTHENTICATION_TIMEOUT: 408,
  TOO_MANY_CONNECTIONS: 503,
  /** Too many connections from one address that have not proved the token. */
  TOO_MANY_UNAUTHENTICATED: 429,

  // After it, as the reason of a close frame.
  /** A message longer than a frame can be. */
  MESSAGE_TOO_LARGE: undefined,
  /** Endless pieces: a message in more parts than two, or a part in too many packets. */
  TOO_MANY_FRAGMENTS: undefined,
  /** Text, or no whole frame. (Bytes that are no frame at all have the codes of ProtocolError.) */
  MESSAGE_MALFORMED: undefined,
  /** Not a WebSocket stream. */
  STREAM_MALFORMED: undefined,
  /** More waits to be sent than allowed, or nothing was taken for too long. */
  PEER_NOT_READING: undefined,
  /** All peers together made this end hold more than it may; this one had kept it waiting longest. */
  MEMORY_LIMIT: undefined,
  /** A bug of this end. */
  INTERNAL_ERROR: undefined,
  /** Closed on purpose, without another reason. */
  CLOSED: undefined,
  /** Gone without a word. */
  RESET: undefined,

  // Found by the one who dials.
  URL_MALFORMED: undefined,
  /** No SHA-256. */
  FINGERPRINT_MALFORMED: undefined,
  UNREACHABLE: undefined,
  TIMEOUT: undefined,
  /** Nobody whom this machine trusts vouches for the server's certificate. */
  CERTIFICATE_UNTRUSTED: undefined,
  /** The server's certificate is not the one that was pinned. */
  FINGERPRINT_WRONG: undefined,
  /** The server does not know the token. */
  SERVER_UNPROVEN: undefined,
  /** Whoever answered is no Lockstep server. */
  NOT_LOCKSTEP: undefined,

  // Found by the one who listens.
  /** A token that could be guessed. */
  TOKEN_WEAK: undefined,
  /** No name or address. */
  HOST_MALFORMED: undefined,
  /** Certificate or key cannot be read, or do not belong together. */
  CERTIFICATE_MALFORMED: undefined,
} as const satisfies Record<string, number | undefined>;

export type TransportCode = keyof typeof TRANSPORT_CODES;

/** What no second try mends: the one who typed the command has to. */
const FINAL: ReadonlySet<TransportCode> = new Set([
  'URL_MALFORMED',
  'FINGERPRINT_MALFORMED',
  'TOKEN_REQUIRED',
  'TOKEN_WRONG',
  'TOKEN_UNEXPECTED',
  'TOKEN_WEAK',
  'BAD_VERSION',
  'HOST_NOT_ALLOWED',
  'ORIGIN_NOT_ALLOWED',
  'CERTIFICATE_UNTRUSTED',
  'FINGERPRINT_WRONG',
  'SERVER_UNPROVEN',
]);

/** A connection that was refused, or that could not be made. Never holds a token or a proof. */
export class TransportError extends Error {
  override readonly name = 'TransportError';
  readonly code: TransportCode;
  /** Trying again changes nothing. */
  readonly isFinal: boolean;

  constructor(code: TransportCode, message: string) {
    super(`${code}: ${message}`);
    this.code = code;
    this.isFinal = FINAL.has(code);
  }
}

const CODE = /^[A-Z][A-Z0-9_]{0,47}$/;
/** What fits in a close frame beside its number. */
const REASON_BYTES = 123;

export interface Reason {
  readonly code: string;
  readonly message: string;
}

/** A reason as the text of a close frame: what is too long is cut. */
export const encodeReason = ({ code, message }: Reason): string => {
  const bytes = Buffer.from(`${code}: ${message}`).subarray(0, REASON_BYTES);
  // A character that was cut in two becomes U+FFFD, which may be longer than what was there.
  return new TextDecoder().decode(bytes).replace(/\uFFFD+$/, '');
};

/** The reason in a close frame; a peer's own words when they have no code. */
export const decodeReason = (text: string): Reason => {
  const at = text.indexOf(': ');
  const code = text.slice(0, Math.max(at, 0));
  return CODE.test(code)
    ? { code, message: text.slice(at + 2) }
    : { code: 'CLOSED', message: printable(text) };
};

const isCode = (text: string): text is TransportCode => Object.hasOwn(TRANSPORT_CODES, text);

/** What a server said instead of an upgrade. */
export const decodeRefusal = (status: number, body: string): TransportError => {
  try {
    const { code, message } = JSON.parse(body) as Record<string, unknown>;
    if (typeof code === 'string' && isCode(code)) return new TransportError(code, printable(String(message)));
  } catch {
    // Not ours: said below.
  }
  return new TransportError('NOT_LOCKSTEP', `the server answered with status ${status}`);
};

/** Words of a stranger, for a log: one line of visible characters, not too long. */
export const printable = (text: string, most = 400): string =>
  text.replace(/[^\x20-\x7e]/g, '?').slice(0, most);
