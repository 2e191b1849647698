/**
 * Note [Old or new, never mixed]: a file appears under its name only when its bytes are on the disk, and it is said to
 * be saved only when its name is. So a crash at any point leaves the file before or the one after. Whoever has a disk,
 * real or simulated, follows the recipe step by step and stops at the first that fails.
 */
export type DiskAction =
  | { readonly do: 'write'; readonly file: string }
  /** fsync of the file: its bytes are on the disk. */
  | { readonly do: 'sync'; readonly file: string }
  | { readonly do: 'rename'; readonly from: string; readonly to: string }
  /** fsync of the folder: names and removals are on the disk. */
  | { readonly do: 'syncFolder' }
  | { readonly do: 'remove'; readonly file: string };

/** How `file` is put in place of what was there under its name. */
export const replaceRecipe = (file: string): DiskAction[] => {
  const temporary = `${file}.tmp`;
  return [
    { do: 'write', file: temporary },
    { do: 'sync', file: temporary },
    { do: 'rename', from: temporary, to: file },
    { do: 'syncFolder' },
  ];
};

/** Checkpoints that are kept: when the newest proves to be damaged, there is another. */
export const GENERATIONS = 2;

/** The name of the checkpoint of the weights before `step`. Sorted as text they are sorted by step. */
export const checkpointFile = (step: number): string => `checkpoint-${String(step).padStart(10, '0')}`;

/** The step of a checkpoint's name; undefined for other files, the unfinished ones among them. */
export const checkpointStep = (file: string): number | undefined => {
  const digits = /^checkpoint-(\d{10})$/.exec(file)?.[1];
  return digits === undefined ? undefined : Number(digits);
};

/**
 * How a checkpoint is written: the new one first, and only when it is safe the oldest are removed.
 * @param present names of the checkpoints that can be read; a damaged one is left for people to look at
 */
export const checkpointRecipe = (step: number, present: readonly string[]): DiskAction[] => {
  const file = checkpointFile(step);
  const older = present.filter((name) => name !== file && checkpointStep(name) !== undefined).sort();
  const spare = older.slice(0, Math.max(0, older.length + 1 - GENERATIONS));
  return [...replaceRecipe(file), ...spare.map((name) => ({ do: 'remove', file: name }) as const)];
};
