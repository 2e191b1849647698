/** What `train --out` left: weights, and the definition that they are of. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { OUTPUT_FILES, type RunRecord } from '@lockstep/trainer';
import type { DefinitionFlags } from './config.ts';
import { ConfigFileError } from './failure.ts';

export interface WeightsFlags extends DefinitionFlags {
  readonly run?: string;
  readonly weights?: string;
}

export interface Trained {
  /** The path of a safetensors file. */
  readonly weights: string;
  /** Of the run that made them, where that is known. */
  readonly record: RunRecord | undefined;
  /** The flags as given, and those of the run. */
  readonly flags: DefinitionFlags;
}

/** The weights of --run or --weights. Throws ConfigFileError where there are none. */
export function trained(command: string, flags: WeightsFlags): Trained {
  const record = flags.run === undefined ? undefined : readRun(command, flags.run);
  const weights = flags.run === undefined ? flags.weights : join(flags.run, OUTPUT_FILES.weights);
  if (weights === undefined) {
    throw new ConfigFileError(
      `${command}: no weights; give --run DIR (what train --out wrote) or --weights FILE`,
    );
  }
  return { weights, record, flags: { ...(record && flagsOf(record)), ...flags } };
}

/** What decides which rows are held back for validation, and in which order their losses are added. */
const flagsOf = ({ definition, data }: RunRecord): DefinitionFlags => ({
  seed: definition.seed,
  batch: definition.batch,
  shards: definition.shards,
  ...(data.dir !== null && { data: data.dir }),
});

/** What replaces parts of the config in a run that is computed again. Throws ConfigFileError where there is no run. */
export function definitionFlags(command: string, folder: string): DefinitionFlags {
  const record = readRun(command, folder);
  const { epochs, steps } = record.definition;
  return { ...flagsOf(record), ...(epochs !== null && { epochs }), ...(steps !== null && { steps }) };
}

function readRun(command: string, folder: string): RunRecord {
  const path = join(folder, OUTPUT_FILES.run);
  try {
    const record: RunRecord = JSON.parse(readFileSync(path, 'utf8'));
    flagsOf(record);
    return record;
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new ConfigFileError(
      `${command}: cannot read ${path} (${reason}); give the folder that train --out wrote`,
    );
  }
}
