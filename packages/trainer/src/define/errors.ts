/** Training cannot go on: a number left the range of f32. Exit code 1. */
export class TrainingError extends Error {
  override readonly name = 'TrainingError';
  readonly code = 'LOCKSTEP_TRAINING';
}
