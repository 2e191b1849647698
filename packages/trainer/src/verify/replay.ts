/** Runs a part of a training again and reports the facts of it, on any executor. */

import { vectorDigest } from '../define/digest.ts';
import type { Prepared } from '../define/prepare.ts';
import { stateDigest } from '../files/checkpoint/checkpoints.ts';
import { explainNonFinite } from '../local/diagnosis.ts';
import type { Executor } from '../run/executor.ts';
import { Loop, type Progress } from '../run/loop.ts';
import { type Fact, factsOf } from './facts.ts';

export interface ReplayOptions {
  /** Where to begin; undefined: at the start of the run. */
  readonly from?: Progress | undefined;
  /** Stops after this optimizer step. */
  readonly until: number;
  /** Whether the state after a step is wanted as a fact. */
  readonly wantsState: (step: number) => boolean;
  /** Hears of each fact, in order; what it throws ends the replay. */
  readonly fact: (fact: Fact) => void;
  /** The state after a step, where `wantsState` asked for it. */
  readonly state?: (progress: Progress) => void;
  readonly signal?: AbortSignal | undefined;
}

/** Gives the step that was reached. The executor stays open. */
export async function replay<M, F extends string>(
  prepared: Prepared<M, F>,
  executor: Executor,
  { from, until, wantsState, fact, state, signal }: ReplayOptions,
): Promise<number> {
  const end = new AbortController();
  const loop: Loop = new Loop(prepared, executor, {
    emit: (event) => {
      for (const each of factsOf(event)) if (each.step <= until) fact(each);
    },
    digest: () => vectorDigest(prepared.layout, executor.weights()),
    signal: signal ? AbortSignal.any([signal, end.signal]) : end.signal,
    checkpoints: {
      due: (step) => {
        if (step >= until) end.abort();
        return step >= until || wantsState(step);
      },
      save: (progress) => {
        const { step } = progress;
        if (step > until || !wantsState(step)) return;
        state?.(progress);
        fact({ step, kind: 'state', value: stateDigest(prepared.layout, progress) });
      },
    },
    explain: (job) => explainNonFinite(prepared, executor.state().get('weights')!, loop.sampler, job),
  });
  const { step } = await loop.run(from);
  if (step === until)
    fact({ step, kind: 'result', value: vectorDigest(prepared.layout, executor.weights()) });
  return step;
}
