/** Loader hooks: files in which a bug is planted. Registered by `mutants.ts`, before anything of the program is loaded. */
import type { Edit } from './mutations.ts';

interface Loaded {
  readonly format: string;
  readonly source?: string | Uint8Array | undefined;
}

let edits: readonly Edit[] = [];

export const initialize = (data: readonly Edit[]): void => {
  edits = data;
};

export const load = async (
  url: string,
  context: unknown,
  next: (url: string, context: unknown) => Promise<Loaded>,
): Promise<Loaded> => {
  const loaded = await next(url, context);
  const own = edits.filter(({ file }) => url.endsWith(file));
  if (own.length === 0) return loaded;
  let source = Buffer.from(loaded.source ?? '').toString('utf8');
  for (const { file, from, to } of own) {
    const times = source.split(from).length - 1;
    if (times !== 1)
      throw new Error(`${file}: ${JSON.stringify(from)} is there ${times} times, expected once`);
    source = source.replace(from, () => to);
  }
  return { ...loaded, source };
};
