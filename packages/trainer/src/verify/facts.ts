/** What a run reports of its steps, as texts that are equal only if all bits are: recorded ones and recomputed ones are compared. */
import type { TrainingEvent } from '../run/events.ts';

/**
 * `step`: loss, metrics and learning rate of a step. `epoch`: those of an epoch, with its validation. `weights`: the digest
 * of the weights at the end of an epoch. `state`: SHA-256 of all that a checkpoint holds. `result`: the digest of the run.
 */
export type FactKind = 'step' | 'epoch' | 'weights' | 'state' | 'result';

export interface Fact {
  /** Optimizer steps done. */
  readonly step: number;
  readonly kind: FactKind;
  readonly value: string;
}

/** Facts by `factKey`. */
export type Facts = ReadonlyMap<string, Fact>;

export const factKey = ({ step, kind }: Omit<Fact, 'value'>): string => `${kind} ${step}`;

/** What an event says about the run that doesn't depend on the machine. */
export function factsOf(event: TrainingEvent): Fact[] {
  switch (event.type) {
    case 'step': {
      const { step, loss, metrics, learningRate } = event;
      return [{ step, kind: 'step', value: JSON.stringify({ loss, metrics, learningRate }) }];
    }
    case 'epoch': {
      const { step, loss, metrics, validation, best, weightsDigest } = event;
      const epoch: Fact = {
        ...{ step, kind: 'epoch' },
        value: JSON.stringify({ loss, metrics, validation, best }),
      };
      return weightsDigest === undefined ? [epoch] : [{ step, kind: 'weights', value: weightsDigest }, epoch];
    }
    case 'checkpoint':
      return event.sha256 === undefined ? [] : [{ step: event.step, kind: 'state', value: event.sha256 }];
    case 'done':
      return [{ step: event.step, kind: 'result', value: event.weightsDigest }];
    default:
      return [];
  }
}

/** Two facts that should be equal and aren't. */
export interface FactDifference {
  readonly step: number;
  readonly kind: FactKind;
  readonly expected: string;
  readonly got: string;
}

/** The first difference of two runs, in the order of their steps; facts that only one of them has say nothing. */
export function firstDifference(expected: Facts, got: Facts): FactDifference | undefined {
  let first: FactDifference | undefined;
  for (const [key, { step, kind, value }] of expected) {
    const other = got.get(key);
    if (other === undefined || other.value === value || (first && first.step <= step)) continue;
    first = { step, kind, expected: value, got: other.value };
  }
  return first;
}
