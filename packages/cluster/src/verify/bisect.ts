/** Finds where two runs, or two machines, first differ: the step, then the shard, then the tensor. */
import { ConfigError } from '@lockstep/nn';
import {
  checkDefinition,
  definitionOf,
  type FactDifference,
  firstDifference,
  loadProgress,
  type Prepared,
  prepare,
  type RecordedRun,
  readRecordedRun,
  replay,
  resolveKernels,
  type TrainingDefinition,
  type Verification,
  type VerifyOptions,
  verifyWith,
} from '@lockstep/trainer';
import { ShardedExecutor, type ShardedListener } from './shardedExecutor.ts';
import { newHead, readTrace, type Trace, type TraceLine, Tracer, writeTrace } from './trace.ts';

/** Where two traces first differ. */
export interface TraceDifference {
  /** The optimizer step under way, from 1. */
  readonly step: number;
  /** Of the run, from 0; null: the gradients agree, and the update of the step differs. */
  readonly batch: number | null;
  readonly shard: number | null;
  /** The first tensor that differs: a parameter, or what else is named. */
  readonly tensor: string;
  /** All of them. */
  readonly tensors: readonly string[];
}

/** The first difference of two traces of the same steps; undefined: there is none as far as both go. */
export function compareTraces(a: Trace, b: Trace): TraceDifference | undefined {
  const [shardParts, stateParts] = [a.head.shardParts, a.head.stateParts];
  for (const [i, left] of a.lines.entries()) {
    const right = b.lines[i];
    if (right === undefined) return undefined;
    const found = compareLines(left, right, shardParts, stateParts);
    if (found) return found;
  }
  return undefined;
}

function compareLines(
  left: TraceLine,
  right: TraceLine,
  shardParts: readonly string[],
  stateParts: readonly string[],
): TraceDifference | undefined {
  const { step } = left;
  const differing = (parts: readonly string[], a: readonly string[], b: readonly string[]): string[] =>
    parts.filter((_, i) => a[i] !== b[i]);
  if ('state' in left && 'state' in right) {
    const tensors = differing(stateParts, left.state, right.state);
    return tensors.length === 0
      ? undefined
      : { step, batch: null, shard: null, tensor: tensors[0]!, tensors };
  }
  if (!('shards' in left && 'shards' in right)) return undefined;
  for (const [shard, hashes] of left.shards.entries()) {
    const tensors = differing(shardParts, hashes, right.shards[shard] ?? []);
    if (tensors.length > 0) return { step, batch: left.batch, shard, tensor: tensors[0]!, tensors };
  }
  return undefined;
}

export interface TraceOptions extends VerifyOptions {
  /** Where the trace is written. */
  readonly trace: string;
  /** Changes what shards give: a machine that computes wrongly, for tests. */
  readonly spoil?: ShardedListener['shard'];
}

/** verifyRun(), shard by shard, with a trace of all that was computed: also where it differs from what was recorded. */
export async function traceRun<M, F extends string>(
  definition: TrainingDefinition<M, F>,
  options: TraceOptions,
): Promise<Verification> {
  const run = await readRecordedRun(options.folder);
  const prepared = await prepare(definition, options);
  checkDefinition(run, prepared, options);
  const recorder = new Recorder(prepared, options.spoil);
  const verification = await verifyWith(run, prepared, options, () => recorder.start(options));
  const { from } = verification;
  const state = from === 0 ? null : (run.manifests.find(({ step }) => step === from)?.tensors.sha256 ?? null);
  const kernels = verification.kernels;
  writeTrace(options.trace, recorder.trace(definitionOf(prepared, options), kernels, { step: from, state }));
  return verification;
}

/** Collects the trace of a run on this machine. */
class Recorder<M, F extends string> {
  readonly lines: TraceLine[] = [];
  readonly #prepared: Prepared<M, F>;
  readonly #spoil: ShardedListener['shard'] | undefined;
  readonly #tracer: Tracer;
  #executor: ShardedExecutor<M, F> | undefined;
  #stateParts: readonly string[] = [];
  readonly #onLine: (line: TraceLine, index: number) => void;

  constructor(
    prepared: Prepared<M, F>,
    spoil?: ShardedListener['shard'],
    onLine: (line: TraceLine, index: number) => void = () => {},
  ) {
    this.#prepared = prepared;
    this.#spoil = spoil;
    this.#onLine = onLine;
    this.#tracer = new Tracer(
      prepared,
      () => this.#executor!.vector,
      (line, stateParts) => {
        if ('state' in line) this.#stateParts = stateParts;
        this.lines.push(line);
        this.#onLine(line, this.lines.length - 1);
      },
    );
  }

  async start(threads: Pick<VerifyOptions, 'workers' | 'kernels'>): Promise<ShardedExecutor<M, F>> {
    this.#executor = await ShardedExecutor.start(this.#prepared, threads, {
      shard: (job, shard, vector) => {
        this.#spoil?.(job, shard, vector);
        this.#tracer.shard(job, shard, vector);
      },
      added: () => this.#tracer.added(),
      step: (job, state) => this.#tracer.step(job, state),
    });
    return this.#executor;
  }

  trace(definition: string, kernels: string, from: Trace['head']['from']): Trace {
    const { shardParts } = this.#tracer;
    const head = newHead({
      ...{ definition, kernels, from },
      ...{ shardParts: [...shardParts], stateParts: [...this.#stateParts] },
    });
    return { head, lines: this.lines };
  }
}

export interface Bisection {
  /** Nothing differs. */
  readonly same: boolean;
  /** Optimizer steps that were computed here. */
  readonly from: number;
  readonly to: number;
  /** The first recorded value in which two runs differ; null: none does, or a trace was given. */
  readonly recorded: FactDifference | null;
  readonly difference: TraceDifference | null;
  /** Of two runs, whether what each recorded is what this machine computes, up to the first difference; null: of a trace. */
  readonly right: { readonly first: boolean; readonly second: boolean } | null;
  readonly kernels: string;
  readonly seconds: number;
}

/** Ends a replay. */
class Found extends Error {}

/** Computes what a trace was made of, and compares. Throws ConfigError where it is of another definition. */
export async function bisectTrace<M, F extends string>(
  definition: TrainingDefinition<M, F>,
  options: VerifyOptions & { readonly trace: string; readonly spoil?: ShardedListener['shard'] },
): Promise<Bisection> {
  const began = performance.now();
  const trace = readTrace(options.trace);
  const run = await readRecordedRun(options.folder);
  const prepared = await prepare(definition, options);
  checkDefinition(run, prepared, options);
  if (definitionOf(prepared, options) !== trace.head.definition) {
    throw new ConfigError('bisect', `${options.trace} is of another definition than ${options.folder}`);
  }
  const { step: first, state } = trace.head.from;
  const manifest = run.manifests.find(({ step, tensors }) => step === first && tensors.sha256 === state);
  if (state !== null && !manifest) {
    throw new ConfigError(
      'bisect',
      `${options.trace} begins at a checkpoint of step ${first} that ${options.folder} doesn't have; make a trace without --sample`,
    );
  }
  let difference: TraceDifference | undefined;
  const { shardParts, stateParts } = trace.head;
  const recorder = new Recorder(prepared, options.spoil, (line, i) => {
    const theirs = trace.lines[i];
    difference = theirs && compareLines(theirs, line, shardParts, stateParts);
    if (difference) throw new Found();
  });
  const executor = await recorder.start(options);
  const until = trace.lines.at(-1)?.step ?? first;
  let to = until;
  try {
    const from = manifest && (await loadProgress(run, prepared, executor, manifest));
    to = await replay(prepared, executor, {
      ...{ from, until, signal: options.signal },
      wantsState: () => false,
      fact: ({ step, kind }) => {
        if (kind === 'step') options.progress?.(step, until);
      },
    });
  } catch (error) {
    if (!(error instanceof Found)) throw error;
    to = difference!.step;
  } finally {
    await executor.close();
  }
  return {
    same: difference === undefined && to === until,
    ...{ from: first, to, recorded: null, right: null, difference: difference ?? null },
    kernels: executor.kernels,
    seconds: (performance.now() - began) / 1000,
  };
}

/**
 * Compares what two runs of one definition recorded. Where they differ, this machine computes the steps up to there, with
 * the kernels of each as far as it has them: whose record is right, and, if the kernels disagree, in which shard and tensor.
 */
export async function bisectRuns<M, F extends string>(
  definition: TrainingDefinition<M, F>,
  options: VerifyOptions & { readonly other: string },
): Promise<Bisection> {
  const began = performance.now();
  const [a, b] = [await readRecordedRun(options.folder), await readRecordedRun(options.other)];
  const prepared = await prepare(definition, options);
  for (const run of [a, b]) checkDefinition(run, prepared, options);
  const recorded = firstDifference(a.facts, b.facts);
  const seconds = (): number => (performance.now() - began) / 1000;
  if (recorded === undefined) {
    const to = Math.min(a.run.result.step, b.run.result.step);
    const kernels = a.run.result.kernels;
    return {
      ...{ same: true, from: to, to, recorded: null, difference: null, right: null, kernels },
      seconds: seconds(),
    };
  }
  const sides = [];
  for (const run of [a, b]) sides.push(await trySide(run, prepared, recorded, options));
  const [first, second] = sides as [Side, Side];
  return {
    same: false,
    ...{ from: 0, to: recorded.step, recorded },
    right: { first: first.isRight, second: second.isRight },
    difference: compareTraces(first.trace, second.trace) ?? null,
    kernels: first.kernels === second.kernels ? first.kernels : `${first.kernels}, ${second.kernels}`,
    seconds: seconds(),
  };
}

interface Side {
  readonly isRight: boolean;
  readonly kernels: string;
  readonly trace: Trace;
}

/** Computes a run up to the first difference, with its own kernels where this machine has them. */
async function trySide<M, F extends string>(
  run: RecordedRun,
  prepared: Prepared<M, F>,
  { step: until }: FactDifference,
  options: VerifyOptions,
): Promise<Side> {
  const recorder = new Recorder(prepared);
  const kernels = ownKernels(run) ?? resolveKernels(options.kernels);
  const executor = await recorder.start({ workers: options.workers ?? 'auto', kernels });
  let isRight = true;
  try {
    await replay(prepared, executor, {
      ...{ until, signal: options.signal },
      wantsState: (step) => run.facts.has(`state ${step}`),
      fact: ({ step, kind, value }) => {
        if (kind === 'step') options.progress?.(step, until);
        const own = run.facts.get(`${kind} ${step}`);
        isRight &&= own === undefined || own.value === value;
      },
    });
  } finally {
    await executor.close();
  }
  const from = { step: 0, state: null };
  return { isRight, kernels, trace: recorder.trace('', kernels, from) };
}

function ownKernels({ run }: RecordedRun) {
  try {
    return resolveKernels(run.result.kernels as 'auto');
  } catch {
    return undefined;
  }
}
