/** A finished run as its folder holds it. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { DataError } from '@lockstep/data';
import { ConfigError } from '@lockstep/nn';
import type { Prepared, PrepareOptions } from '../define/prepare.ts';
import { CHECKPOINTS } from '../files/checkpoint/checkpoints.ts';
import { definitionHash, differences, runDefinition } from '../files/checkpoint/fingerprint.ts';
import { diskFolder } from '../files/checkpoint/folder.ts';
import type { Manifest } from '../files/checkpoint/manifest.ts';
import { CheckpointStore } from '../files/checkpoint/store.ts';
import { definitionRecord, OUTPUT_FILES, type RunRecord } from '../files/output.ts';
import type { TrainingEvent } from '../run/events.ts';
import { type Facts, factKey, factsOf } from './facts.ts';

export interface RecordedRun {
  readonly folder: string;
  readonly run: RunRecord;
  /** From metrics.jsonl. */
  readonly facts: Facts;
  readonly store: CheckpointStore;
  /** Of the checkpoints that are still there, oldest first. */
  readonly manifests: readonly Manifest[];
}

/** Throws ConfigError where the folder isn't that of a finished run, DataError where a file can't be read. */
export async function readRecordedRun(folder: string): Promise<RecordedRun> {
  const run = readRunRecord(folder);
  const facts = new Map<string, ReturnType<typeof factsOf>[number]>();
  for (const event of readEvents(join(folder, OUTPUT_FILES.metrics))) {
    for (const fact of factsOf(event)) facts.set(factKey(fact), fact);
  }
  const store = new CheckpointStore(diskFolder(join(folder, CHECKPOINTS)));
  return { folder, run, facts, store, manifests: await store.manifests() };
}

function readRunRecord(folder: string): RunRecord {
  const path = join(folder, OUTPUT_FILES.run);
  if (!existsSync(path)) {
    throw new ConfigError(
      'verify',
      `${path} is missing, so ${folder} does not hold a finished run; give the folder that train --out wrote`,
    );
  }
  const record = parse(path, readFileSync(path, 'utf8')) as Partial<RunRecord>;
  if (record.definition && record.result?.weightsDigest) return record as RunRecord;
  throw new DataError('DATA_FORMAT', `verify: ${path} has no definition or no result; copy the folder again`);
}

function* readEvents(path: string): Generator<TrainingEvent> {
  if (!existsSync(path)) {
    throw new DataError(
      'DATA_UNREADABLE',
      `verify: ${path} is missing, so there are no steps to compare with; copy it`,
    );
  }
  const lines = readFileSync(path, 'utf8').split('\n');
  for (const line of lines) if (line !== '') yield parse(path, line) as TrainingEvent;
}

function parse(path: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new DataError('DATA_FORMAT', `verify: ${path} is not JSON (${(error as Error).message})`);
  }
}

/**
 * Throws ConfigError where the definition isn't that of the run. Checkpoints hold all of it; without one, what is data is
 * compared, and a model of another kind shows in the first loss.
 */
export function checkDefinition<M, F extends string>(
  { folder, run, manifests }: RecordedRun,
  prepared: Prepared<M, F>,
  given: PrepareOptions,
): void {
  const manifest = manifests.at(-1);
  const changed = manifest
    ? differences(manifest.definition, runDefinition(prepared, given))
    : differences(
        JSON.parse(JSON.stringify(run.definition)),
        JSON.parse(JSON.stringify(definitionRecord(prepared, given))),
      );
  if (changed === undefined) return;
  throw new ConfigError(
    'verify',
    `${folder} is of another definition: ${changed}. Give the config and the data that it was trained with`,
  );
}

/** Names a definition: runs and traces of equal ones can be compared. */
export const definitionOf = <M, F extends string>(prepared: Prepared<M, F>, given: PrepareOptions): string =>
  definitionHash(runDefinition(prepared, given));
