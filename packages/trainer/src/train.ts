/** train(): from a definition to trained weights. */
import { setEagerKernels } from '@lockstep/autograd';
import { ConfigError, parametersOf, type StateEntry, stateOf, summary } from '@lockstep/nn';
import type { WorkerLoss } from '@lockstep/workers';
import type { TrainingDefinition } from './define/definition.ts';
import { vectorDigest, weightsDigest } from './define/digest.ts';
import { scatter, scatterBuffers } from './define/layout.ts';
import { type Prepared, prepare } from './define/prepare.ts';
import { CHECKPOINTS, type CheckpointInterval, Checkpoints } from './files/checkpoint/checkpoints.ts';
import { runDefinition } from './files/checkpoint/fingerprint.ts';
import { Rewinder } from './files/checkpoint/rewinder.ts';
import { RunOutput, runRecord } from './files/output.ts';
import { RunFolder } from './files/runFolder.ts';
import { explainNonFinite } from './local/diagnosis.ts';
import { EagerExecutor } from './local/eagerExecutor.ts';
import { PoolExecutor } from './local/poolExecutor.ts';
import { resolveKernels, resolveWorkers, type ThreadOptions } from './local/threads.ts';
import type { ProfileOptions } from './profile/spans.ts';
import type { Callbacks, DoneEvent, StepEvent, TrainingEvent } from './run/events.ts';
import type { Executor } from './run/executor.ts';
import { Loop, type LoopOutcome, type Pause } from './run/loop.ts';
import { RunControl } from './run/runControl.ts';
import { StepStream } from './run/stepStream.ts';

export interface TrainOptions extends ThreadOptions {
  /**
   * `coalesced` (default): a worker's shards run as one; `separate`: one shard at a time; `eager`: no graph and no
   * threads. The weights do not depend on it, the speed does.
   */
  readonly execution?: 'coalesced' | 'separate' | 'eager';
  /** Weights to begin with, by name, instead of random ones. */
  readonly initialWeights?: ReadonlyMap<string, StateEntry>;
  /** What `data()` of the definition is given as `dir`. Throws ConfigError where it does not take one. */
  readonly dataDir?: string | undefined;
  /**
   * A folder for `weights.safetensors` (names and layouts as PyTorch's), `metrics.jsonl` (all events) and `run.json` (the
   * definition). Made when the definition, the data and the model have proved right; files appear when the run is done.
   * One run at a time: throws ConfigError while another process writes there.
   */
  readonly out?: string | undefined;
  /**
   * How often `out` gets a checkpoint (in `checkpoints/`, the last two are kept) beside those at the end and when `signal`
   * ends the run. Default: every 30 seconds. Written while training goes on; a disk that refuses does not end the run.
   */
  readonly checkpointEvery?: CheckpointInterval | undefined;
  /**
   * Go on from the newest whole checkpoint in `out`, if there is one: to the same weights, also with other workers and
   * kernels. Throws ConfigError where it is of another definition.
   */
  readonly resume?: boolean | undefined;
  /** Two steps and one batch of validation, to see whether everything fits together. */
  readonly fastDevRun?: boolean;
  /** Measure where the time goes; the weights do not depend on it. Not with `eager`. */
  readonly profile?: ProfileOptions | undefined;
  /** Pauses the run between two steps whenever it wants to: to measure something else meanwhile. See also `Run.pause`. */
  readonly pause?: Pause | undefined;
  /** Ends the run after the batches under way; its result says `interrupted`. */
  readonly signal?: AbortSignal | undefined;
  /** Callbacks may be async; what they throw fails the run. */
  readonly on?: Callbacks;
}

export interface TrainResult<M, K extends string = string> extends Omit<DoneEvent<K>, 'type'> {
  /** The model with the trained weights (the best ones with early stopping). */
  readonly model: M;
  readonly weights: ReadonlyMap<string, StateEntry>;
}

/**
 * A run, which has begun: a promise of its result that can be looked at and controlled meanwhile. It rejects with what
 * `train` documents, and with whatever a callback throws.
 */
export interface Run<M, K extends string = string> extends Promise<TrainResult<M, K>> {
  /**
   * The steps, each after it is done, from the first one if asked for at once. Training waits after each step until the loop
   * asks for the next one. Leaving the loop early stops the run, as `stop` does.
   */
  steps(): AsyncIterableIterator<StepEvent>;
  /** Pauses before the next optimizer step; settles when nothing is under way. Don't await it within a loop over `steps`. */
  pause(): Promise<void>;
  resume(): void;
  /** Ends the run after the batches under way. The result says `interrupted`. */
  stop(): void;
}

/**
 * Starts to train, at once. The weights are a function of the definition alone. Rejects with ConfigError, DataError or OpError on a definition
 * that cannot be, TrainingError when the loss leaves the range of f32.
 */
export function train<M, F extends string, K extends string = string>(
  definition: TrainingDefinition<M, F, K>,
  options: TrainOptions = {},
): Run<M, K> {
  return startRun(definition, options, ({ prepared, emit }) => startExecutor(prepared, options, emit));
}

/** What an executor is started for. */
export interface RunContext<M, F extends string> {
  readonly prepared: Prepared<M, F>;
  readonly emit: (event: TrainingEvent) => void;
  /** The batch that the run begins or goes on with, counted from 0. */
  readonly from: number;
  /** Aborted when the run is to end. */
  readonly signal: AbortSignal;
}

export type StartExecutor<M, F extends string> = (context: RunContext<M, F>) => Promise<Executor>;

/** A run on any executor. */
export function startRun<M, F extends string>(
  definition: TrainingDefinition<M, F>,
  options: TrainOptions,
  start: StartExecutor<M, F>,
): Run<M> {
  const control = new RunControl(options);
  const steps = new StepStream(() => {
    control.stop();
    return result.catch(() => {});
  });
  const result = runDefined(definition, options, start, control, steps);
  result.then(
    () => steps.end(),
    (error: unknown) => steps.end({ error }),
  );
  return Object.assign(result, {
    steps: () => {
      // Whoever iterates is told by the loop: the promise need not be awaited as well.
      result.catch(() => {});
      return steps.read();
    },
    pause: () => control.pause(),
    resume: () => control.resume(),
    stop: () => control.stop(),
  });
}

export async function startExecutor<M, F extends string>(
  prepared: Prepared<M, F>,
  options: TrainOptions,
  emit: (event: TrainingEvent) => void = () => {},
): Promise<Executor> {
  const { execution = 'coalesced' } = options;
  const kernels = resolveKernels(options.kernels);
  if (execution === 'eager') {
    if (options.profile) throw new ConfigError('profile', 'there are no threads to measure in eager mode');
    setEagerKernels(kernels);
    return new EagerExecutor(prepared);
  }
  const tell =
    (type: 'workerLost' | 'workerReplaced') =>
    ({ worker, phase, reason }: WorkerLoss, step: number) =>
      emit({ type, worker, step, phase, reason });
  return PoolExecutor.start({
    ...prepared,
    workers: resolveWorkers(options.workers),
    kernels,
    coalesce: execution === 'coalesced',
    profile: options.profile,
    onWorkerLost: tell('workerLost'),
    onWorkerReplaced: tell('workerReplaced'),
  });
}

async function runDefined<M, F extends string>(
  definition: TrainingDefinition<M, F>,
  options: TrainOptions,
  start: StartExecutor<M, F>,
  control: RunControl,
  steps: StepStream,
): Promise<TrainResult<M>> {
  const began = performance.now();
  resolveWorkers(options.workers);
  resolveKernels(options.kernels);
  checkCheckpointOptions(options);
  const prepared = await prepare(definition, options);
  const folder = options.out === undefined ? undefined : new RunFolder(options.out);
  try {
    return await runPrepared(prepared, options, start, began, control, steps);
  } finally {
    control.end();
    folder?.close();
  }
}

async function runPrepared<M, F extends string>(
  prepared: Prepared<M, F>,
  options: TrainOptions,
  start: StartExecutor<M, F>,
  began: number,
  control: RunControl,
  steps: StepStream,
): Promise<TrainResult<M>> {
  let lostWorkers = 0;
  let stepsDone = 0;
  let output: RunOutput | undefined;
  let started: Executor | undefined;
  const emit = (event: TrainingEvent): void => {
    if (event.type === 'workerLost') lostWorkers++;
    if (event.type === 'step') stepsDone = event.step;
    output?.event(event);
    control.tell(event);
  };
  const { out, checkpointEvery: every, resume = false } = options;
  const checkpoints =
    out === undefined
      ? undefined
      : new Checkpoints({
          ...{ out, every, layout: prepared.layout, emit },
          definition: () => runDefinition(prepared, options),
          mark: () => output?.mark(),
          doubts: () => started?.doubts?.() ?? [],
        });
  const found = resume ? await checkpoints?.find() : undefined;
  const executor = await start({ prepared, emit, from: found?.manifest.index ?? 0, signal: control.signal });
  started = executor;
  try {
    const from = found && checkpoints?.restore(found, executor.state());
    if (out !== undefined) output = new RunOutput(out, found?.manifest.events);
    const loop: Loop = new Loop(prepared, executor, {
      emit,
      signal: control.signal,
      pause: control,
      steps,
      checkpoints,
      ...(out !== undefined && { digest: () => vectorDigest(prepared.layout, executor.weights()) }),
      rewind: (rewind) => rewinder.back(rewind),
      explain: (job) => explainNonFinite(prepared, executor.state().get('weights')!, loop.sampler, job),
    });
    const rewinder = new Rewinder({ checkpoints, output, emit, state: () => executor.state() });
    const skipped = checkpoints?.skipped ?? [];
    const resumed =
      from && found
        ? { step: from.step, file: `${CHECKPOINTS}/${found.name}`, ...(skipped.length > 0 && { skipped }) }
        : null;
    emit({ ...startEvent(prepared, executor, loop), ...(resume && { resumed }) });
    if (executor.rewind) rewinder.begin(from);
    const outcome = await loop.run(from);
    await control.settle();
    await checkpoints?.finish();
    const trained = executor.weights();
    scatter(prepared.layout, trained);
    scatterBuffers(prepared.layout, trained.subarray(prepared.layout.size));
    const weights = stateOf(prepared.model);
    const done = doneEvent(prepared, executor, outcome, lostWorkers, performance.now() - began);
    executor.finish?.(outcome.interrupted ? undefined : done.weightsDigest);
    output?.event(done);
    output?.finish(weights, runRecord(prepared, done, options));
    control.tell(done);
    await control.settle();
    const { type: _, ...result } = done;
    return { ...result, model: prepared.model, weights };
  } finally {
    await checkpoints?.finish().catch(() => {});
    output?.abandon(stepsDone);
    await executor.close();
  }
}

/** Throws ConfigError. */
function checkCheckpointOptions({ out, resume, checkpointEvery: every }: TrainOptions): void {
  if (out === undefined && (resume || every)) {
    throw new ConfigError(
      resume ? 'resume' : 'checkpointEvery',
      'checkpoints lie in the folder of a run; give out',
    );
  }
  if (!every) return;
  const [unit, value] = 'steps' in every ? ['steps', every.steps] : ['seconds', every.seconds];
  if (Number.isFinite(value) && value > 0 && (unit === 'seconds' || Number.isInteger(value))) return;
  const expected = unit === 'steps' ? 'a whole number of at least 1' : 'a number above 0';
  throw new ConfigError('checkpointEvery', `${unit} is ${value}, expected ${expected}`);
}

function startEvent<M, F extends string>(
  { definition, data, model, layout }: Prepared<M, F>,
  executor: Executor,
  loop: Loop,
) {
  const { name, batch, shards, seed, epochs } = definition;
  return {
    type: 'start' as const,
    name,
    model: summary(model),
    parameters: layout.entries.reduce((sum, { size }) => sum + size, 0),
    data: data.name,
    trainRows: data.length,
    validationRows: data.validation?.length ?? 0,
    batch,
    shards,
    seed,
    epochs: Math.min(epochs, Math.ceil(loop.totalSteps / loop.stepsPerEpoch)),
    stepsPerEpoch: loop.stepsPerEpoch,
    totalSteps: loop.totalSteps,
    workers: executor.workers,
    kernels: executor.kernels,
  };
}

function doneEvent<M, F extends string>(
  { definition, model }: Prepared<M, F>,
  executor: Executor,
  outcome: LoopOutcome,
  lostWorkers: number,
  milliseconds: number,
): DoneEvent {
  return {
    type: 'done',
    ...outcome,
    seconds: milliseconds / 1000,
    weightsDigest: weightsDigest(parametersOf(model)),
    workers: executor.workers,
    nodes: executor.nodes ?? 1,
    shards: definition.shards,
    kernels: executor.kernels,
    exact: true,
    lostWorkers,
    ...(executor.audit && { audit: executor.audit }),
  };
}
