/** The page beside the tensors of a checkpoint: where the run stood, of what run, and the digests that prove both whole. */
import { createHash } from 'node:crypto';
import type { Json } from '@lockstep/nn';
import { z } from 'zod';
import { version } from '../../define/version.ts';
import type { Progress } from '../../run/loop.ts';

/** A file by its length and its SHA-256 (hex). */
export interface FileProof {
  readonly bytes: number;
  readonly sha256: string;
}

export interface Manifest extends Omit<Progress, 'state' | 'best'> {
  /** Counts the checkpoints of a folder: the newest has the highest. */
  readonly sequence: number;
  readonly best?: { readonly value: number; readonly epoch: number } | undefined;
  /** How much of metrics.jsonl had been written. */
  readonly events?: FileProof | undefined;
  readonly definitionHash: string;
  /** What the weights are a function of, to be read and compared. */
  readonly definition: Json;
  readonly tensors: FileProof;
}

/** What is no checkpoint, or no whole one. */
export class ManifestError extends Error {
  override readonly name = 'ManifestError';
}

const FORMAT = 'lockstep checkpoint 1';

const count = z.int().min(0);
/** Unlike `z.number()`, with NaN and the infinities. */
const real = z.custom<number>((value) => typeof value === 'number');
const metrics = z.record(z.string(), real);
const proof = z.strictObject({ bytes: count, sha256: z.string().regex(/^[0-9a-f]{64}$/) });
const validation = z.looseObject({ loss: real, metrics });
const schema = z.looseObject({
  format: z.literal(FORMAT),
  sequence: count,
  step: count,
  epoch: count,
  batch: count,
  index: count,
  rows: count,
  sums: z.array(real),
  finished: z.boolean(),
  lastEpoch: z
    .looseObject({
      type: z.literal('epoch'),
      epoch: count,
      step: count,
      loss: real,
      metrics,
      seconds: real,
      validation: validation.optional(),
      best: z.boolean().optional(),
    })
    .optional(),
  validation: validation.optional(),
  validations: z.array(z.strictObject({ step: count, loss: real, metrics })).optional(),
  best: z.strictObject({ value: real, epoch: count }).optional(),
  events: proof.optional(),
  definitionHash: z.string(),
  definition: z.json(),
  tensors: proof,
});

/** The digest over all that follows it comes first: no byte of the file is beyond it. */
const head = (sha256: string): string => `{\n  "sha256": "${sha256}",\n`;

export const sha256 = (bytes: Uint8Array | string): string =>
  createHash('sha256').update(bytes).digest('hex');

export function encodeManifest(manifest: Manifest): Uint8Array {
  const text = JSON.stringify({ format: FORMAT, lockstep: version, ...manifest }, encodeNumber, 2);
  const rest = `${text.slice('{\n'.length)}\n`;
  return Buffer.from(head(sha256(rest)) + rest);
}

/** Throws ManifestError on anything but the very bytes that were encoded. */
export function decodeManifest(bytes: Uint8Array): Manifest {
  const file = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const rest = file.subarray(head('0'.repeat(64)).length);
  if (!file.equals(Buffer.concat([Buffer.from(head(sha256(rest))), rest]))) {
    throw new ManifestError('its SHA-256 is not the one that it begins with');
  }
  let value: unknown;
  try {
    value = JSON.parse(file.toString('utf8'), decodeNumber);
  } catch (error) {
    throw new ManifestError(`it is not JSON (${error instanceof Error ? error.message : error})`);
  }
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data as Manifest;
  const issue = parsed.error.issues[0];
  throw new ManifestError(`${issue?.path.join('.')}: ${issue?.message}`);
}

/** JSON knows neither NaN nor infinities, and a metric may. */
const encodeNumber = (_: string, value: unknown): unknown =>
  typeof value === 'number' && !Number.isFinite(value) ? { number: String(value) } : value;

function decodeNumber(_: string, value: unknown): unknown {
  if (typeof value !== 'object' || value === null || !('number' in value)) return value;
  return ['NaN', 'Infinity', '-Infinity'].includes(String(value.number)) ? Number(value.number) : value;
}
