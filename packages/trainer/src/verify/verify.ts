/** verifyRun(): recomputes a finished run, or some of its steps, and compares everything that it recorded. */
import { randomInt } from 'node:crypto';
import { join } from 'node:path';
import { ConfigError } from '@lockstep/nn';
import type { TrainingDefinition } from '../define/definition.ts';
import { weightsDigest } from '../define/digest.ts';
import { type Prepared, type PrepareOptions, prepare } from '../define/prepare.ts';
import { progressOf } from '../files/checkpoint/checkpoints.ts';
import type { Manifest } from '../files/checkpoint/manifest.ts';
import { OUTPUT_FILES } from '../files/output.ts';
import { readWeights } from '../files/weights.ts';
import type { ThreadOptions } from '../local/threads.ts';
import type { Executor } from '../run/executor.ts';
import type { Progress } from '../run/loop.ts';
import { startExecutor } from '../train.ts';
import { type Fact, type FactKind, factKey } from './facts.ts';
import { checkDefinition, type RecordedRun, readRecordedRun } from './recorded.ts';
import { replay } from './replay.ts';

export interface VerifyOptions extends ThreadOptions {
  /** What `train` wrote with `out`. */
  readonly folder: string;
  readonly dataDir?: string | undefined;
  /** The weights that the run was given, if any. */
  readonly initialWeights?: PrepareOptions['initialWeights'];
  /** Recompute this many steps, from the start or from one of the checkpoints, drawn at random. Default: the whole run. */
  readonly sample?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Called after each recomputed step; `of`: the last one. */
  readonly progress?: (step: number, of: number) => void;
}

/** The first recorded value that isn't what was computed here. */
export interface VerifyDifference {
  /** Optimizer steps done. */
  readonly step: number;
  /** The last step before it at which something recorded was right. */
  readonly rightUntil: number;
  /** What differs: `file` is weights.safetensors. */
  readonly kind: FactKind | 'file';
  readonly recorded: string;
  readonly computed: string;
}

export interface Verification {
  readonly verified: boolean;
  /** The optimizer steps that were recomputed: those after `from`, up to `to`. */
  readonly from: number;
  readonly to: number;
  /** Steps of the whole run. */
  readonly steps: number;
  /** How many recorded values were compared, by kind. */
  readonly compared: Readonly<Partial<Record<FactKind, number>>>;
  readonly difference: VerifyDifference | null;
  /** Of the run, as it is recorded. */
  readonly weightsDigest: string;
  readonly workers: number;
  readonly kernels: string;
  readonly seconds: number;
}

/** Ends a replay. */
class Differs extends Error {}

/** Compares what is recomputed with what was recorded. */
class Comparison {
  readonly compared: Partial<Record<FactKind, number>> = {};
  difference: VerifyDifference | undefined;
  readonly #run: RecordedRun;
  #rightUntil: number;

  constructor(run: RecordedRun, from: number) {
    this.#run = run;
    this.#rightUntil = from;
  }

  /** Throws Differs at the first difference. */
  take(fact: Fact): void {
    const recorded = this.#run.facts.get(factKey(fact));
    if (!recorded) return;
    const { step, kind, value } = fact;
    this.compared[kind] = (this.compared[kind] ?? 0) + 1;
    if (recorded.value === value) {
      this.#rightUntil = step;
      return;
    }
    this.difference = {
      ...{ step, kind, rightUntil: this.#rightUntil },
      ...{ recorded: recorded.value, computed: value },
    };
    throw new Differs();
  }
}

/**
 * Recomputes a run that `train` or `serve` left in a folder. Throws ConfigError where the folder holds no finished run or
 * that of another definition, DataError where files can't be read.
 */
export async function verifyRun<M, F extends string>(
  definition: TrainingDefinition<M, F>,
  options: VerifyOptions,
): Promise<Verification> {
  const run = await readRecordedRun(options.folder);
  const prepared = await prepare(definition, options);
  checkDefinition(run, prepared, options);
  const { workers = 'auto', kernels = 'auto' } = options;
  return verifyWith(run, prepared, options, () => startExecutor(prepared, { workers, kernels }));
}

/** The same on an executor of the caller's, which is closed. */
export async function verifyWith<M, F extends string>(
  run: RecordedRun,
  prepared: Prepared<M, F>,
  { sample, signal, progress }: Pick<VerifyOptions, 'sample' | 'signal' | 'progress'>,
  start: () => Promise<Executor>,
): Promise<Verification> {
  const began = performance.now();
  if (sample !== undefined && !(Number.isInteger(sample) && sample >= 1)) {
    throw new ConfigError('sample', `got ${sample}, expected a whole number of steps, at least 1`);
  }
  const { step: steps, weightsDigest: digest } = run.run.result;
  const manifest = sample === undefined ? undefined : pickStart(run);
  const first = manifest?.step ?? 0;
  const until = sample === undefined ? steps : Math.min(first + sample, steps);
  const comparison = new Comparison(run, first);
  const executor = await start();
  try {
    const { workers, kernels } = executor;
    const from = manifest && (await loadProgress(run, prepared, executor, manifest));
    const file = fileDifference(run);
    let to = until;
    if (!file) {
      try {
        to = await replay(prepared, executor, {
          ...{ from, until, signal },
          wantsState: (step) => run.facts.has(factKey({ step, kind: 'state' })),
          fact: (fact) => {
            comparison.take(fact);
            if (fact.kind === 'step') progress?.(fact.step, until);
          },
        });
      } catch (error) {
        if (!(error instanceof Differs)) throw error;
        to = comparison.difference!.step;
      }
    }
    const difference = file ?? comparison.difference ?? null;
    return {
      verified: difference === null && to === until,
      ...{ from: first, to, steps, compared: comparison.compared, difference },
      ...{ weightsDigest: digest, workers, kernels },
      seconds: (performance.now() - began) / 1000,
    };
  } finally {
    await executor.close();
  }
}

/** Undefined: the start of the run. Each known state is as likely as another. */
function pickStart({ manifests, run }: RecordedRun): Manifest | undefined {
  const places = manifests.filter(({ finished, step }) => !finished && step < run.result.step);
  return places[randomInt(places.length + 1) - 1];
}

/** The state of a checkpoint. Throws DataError where it is damaged. */
export async function loadProgress<M, F extends string>(
  { store, folder }: RecordedRun,
  { layout }: Prepared<M, F>,
  executor: Executor,
  { sequence }: Manifest,
): Promise<Progress> {
  const { checkpoint, damaged } = await store.newest((each) => each.sequence === sequence);
  if (!checkpoint) throw new ConfigError('verify', `${folder}: ${damaged[0]?.name}: ${damaged[0]?.reason}`);
  return progressOf(`verify: ${join(folder, checkpoint.name)}`, layout, checkpoint, executor.state());
}

/** Whether weights.safetensors has the weights that run.json says. */
function fileDifference({ folder, run }: RecordedRun): VerifyDifference | undefined {
  const { step, weightsDigest: recorded } = run.result;
  const weights = readWeights(join(folder, OUTPUT_FILES.weights));
  const names = Object.keys(run.definition.parameters);
  const computed = weightsDigest(new Map([...weights].filter(([name]) => names.includes(name))));
  return computed === recorded ? undefined : { step, rightUntil: step, kind: 'file', recorded, computed };
}
