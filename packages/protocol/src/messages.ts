/** The control messages: small, rare, and nothing that is computed with. Bulk data have frames of their own. */
import { z } from 'zod';

const u32 = z
  .int()
  .min(0)
  .max(2 ** 32 - 1);
const sha256 = z.string().regex(/^[0-9a-f]{64}$/);
/** A name is shown to people: no control characters, and it never becomes a path. */
const name = z.string().regex(/^[\p{L}\p{N}][\p{L}\p{N} ._:@-]{0,63}$/u);
/** Whether a node may be called so. */
export const isNodeName = (text: string): boolean => name.safeParse(text).success;
/** Shown to people: what would move their terminal's cursor is not. */
const text = (most: number) =>
  z
    .string()
    .max(most)
    .transform((words) => words.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, '?'));
const shard = z.int().min(0).max(65_535);
/** A unit: the shards [lo, hi), a node of the shard tree. */
const unit = z.tuple([shard, shard]).refine(([lo, hi]) => lo < hi, 'expected lo < hi');
/** Something that is streamed: named by its content, so that it can be kept and is never fetched twice. */
const content = z.strictObject({
  hash: sha256,
  bytes: z
    .int()
    .min(0)
    .max(2 ** 34),
});

/** What a node says. */
export const nodeMessage = z.discriminatedUnion('type', [
  z.strictObject({
    type: z.literal('hello'),
    /** Made by the process when it starts: tells a reconnect from another node of the same name. */
    id: z.string().regex(/^[0-9a-f]{16}$/),
    /** Counts the connections that this process tried; the welcome repeats it. */
    attempt: u32,
    name,
    workers: z.int().min(1).max(4096),
    /** For people: which kernels the node runs. */
    kernels: text(64),
    /** The class of arithmetic, with the digest of its known-answer test. */
    arithmetic: z.enum(['strict', 'fused']),
    proof: sha256,
  }),
  z.strictObject({ type: z.literal('pong') }),
  /** Program and data are here: the node can compute. Nothing but a welcome is sent to it before. */
  z.strictObject({ type: z.literal('ready') }),
  /** Asks for content from this byte on: the node does not have it, or not all of it. */
  z.strictObject({
    type: z.literal('need'),
    what: z.enum(['program', 'data']),
    from: z
      .int()
      .min(0)
      .max(2 ** 34),
  }),
  /** Its threads took so long for what it was last asked for; comes before the last of the results. */
  z.strictObject({
    type: z.literal('computed'),
    step: u32,
    milliseconds: z
      .number()
      .min(0)
      .max(2 ** 32),
  }),
  /** Answers `profile` at once: milliseconds of the node's clock. */
  z.strictObject({ type: z.literal('time'), milliseconds: z.number().min(0).max(1e15) }),
  /** The node ends: it finishes what it holds and wants nothing new. */
  z.strictObject({ type: z.literal('leave') }),
]);

/** What the coordinator says. */
export const coordinatorMessage = z.discriminatedUnion('type', [
  /** The fence of the session that begins is in the frame's header. */
  z.strictObject({
    type: z.literal('welcome'),
    /** Of the hello that this answers: a welcome of an earlier connection is none. */
    attempt: u32,
    /** Milliseconds between two pings. */
    heartbeat: z.int().min(1).max(600_000),
    /** Hash of the run's definition. */
    definition: sha256,
    shards: z.int().min(1).max(65_535),
    steps: u32,
    /** Floats of all parameters. */
    parameters: u32,
    program: content,
    data: content,
  }),
  z.strictObject({ type: z.literal('ping') }),
  /** Compute these units of a step, in this order, once the weights before it are complete. */
  z.strictObject({
    type: z.literal('assign'),
    step: u32,
    units: z.array(unit).min(1).max(512),
    /** So many bytes of a unit may be sent before any of the weights after this step are back; absent: all of them. */
    ahead: u32.min(1).optional(),
  }),
  /** Buckets [from, to) of the weights before `step` are those of the weights before, which are not sent again. */
  z.strictObject({ type: z.literal('kept'), step: u32, from: u32, to: u32 }),
  /** Measure the steps [from, to), and send a profile when `done` of the run are; said again, to compare clocks. */
  z.strictObject({ type: z.literal('profile'), from: u32, to: u32, done: u32 }),
  /** The run is over, or this node's part in it. */
  z.strictObject({ type: z.literal('finished'), step: u32, digest: sha256.nullable() }),
  /** The connection is going to be closed, and why. */
  z.strictObject({ type: z.literal('refused'), code: text(64), message: text(1000) }),
]);

export type NodeMessage = z.infer<typeof nodeMessage>;
export type CoordinatorMessage = z.infer<typeof coordinatorMessage>;
