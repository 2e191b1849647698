import type { TrainingEvent } from 'lockstep';

/** Shows a run. */
export interface Reporter {
  event(event: TrainingEvent): void;
  /** The run was told to stop, and will. */
  interrupted(): void;
  /** Nothing follows, or an error message does. */
  end(): void;
}
