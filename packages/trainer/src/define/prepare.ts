/** Everything before the first step: checks, data, model, initial weights. */
import { withRandom } from '@lockstep/autograd';
import { type Dataset, sliceRows, split } from '@lockstep/data';
import { ConfigError, loadState, namedBuffers, namedParameters, type StateEntry } from '@lockstep/nn';
import { checkOptimizer } from './checkOptimizer.ts';
import { type ResolvedDefinition, resolveDefinition, type TrainingDefinition } from './definition.ts';
import { type FlatLayout, flatLayout } from './layout.ts';

export interface Prepared<M, F extends string> {
  readonly definition: ResolvedDefinition<M, F>;
  readonly data: Dataset<F>;
  readonly model: M;
  readonly layout: FlatLayout;
}

/** The shard word of the generator that draws initial weights: no shard of a batch has this number. */
export const INITIAL_WEIGHTS = 0xffffffff;

export interface PrepareOptions {
  readonly initialWeights?: ReadonlyMap<string, StateEntry> | undefined;
  readonly dataDir?: string | undefined;
  readonly fastDevRun?: boolean | undefined;
}

/** Throws ConfigError or DataError. */
export async function prepare<M, F extends string>(
  given: TrainingDefinition<M, F>,
  { initialWeights, dataDir, fastDevRun = false }: PrepareOptions,
): Promise<Prepared<M, F>> {
  let definition = resolveDefinition(given);
  checkOptimizer(definition.optimizer);
  let data = await loadData(definition, dataDir);
  if (!(typeof data === 'object' && data !== null && 'columns' in data)) {
    throw new ConfigError(
      'training definition',
      `data() gave ${typeof data}, expected a data set, for example data.digits()`,
    );
  }
  if (!data.validation && definition.validation > 0)
    data = split(data, definition.validation, definition.seed);
  if (definition.earlyStopping && !data.validation) {
    throw new ConfigError(
      'training definition',
      'earlyStopping watches the validation part, and the data set has none; set validation to a fraction of the rows',
    );
  }
  if (definition.optimizer.watches !== undefined && !data.validation) {
    throw new ConfigError(
      'training definition',
      'optim.plateau watches the validation part, and the data set has none; set validation to a fraction of the rows',
    );
  }
  if (definition.dropLast && data.length < definition.batch) {
    throw new ConfigError(
      'training definition',
      `batch is ${definition.batch} and there are ${data.length} training rows, of which dropLast leaves none; lower batch`,
    );
  }
  if (fastDevRun) {
    definition = { ...definition, steps: Math.min(2, definition.steps ?? 2) };
    const held = data.validation;
    if (held) data = { ...data, validation: sliceRows(held, 0, Math.min(held.length, definition.batch)) };
  }
  const model = withRandom({ seed: definition.seed, shard: INITIAL_WEIGHTS }, definition.model);
  const parameters = namedParameters(model);
  if (parameters.size === 0) {
    throw new ConfigError(
      'model',
      'it has no parameters, so there is nothing to train; return the module itself, or an object that has the modules as properties',
    );
  }
  if (initialWeights) loadState(model, initialWeights);
  return {
    definition,
    data,
    model,
    layout: flatLayout(parameters, definition.optimizer, namedBuffers(model)),
  };
}

/** A folder that the definition never looks at would silently do nothing. */
async function loadData<M, F extends string>(
  definition: ResolvedDefinition<M, F>,
  dir: string | undefined,
): Promise<Dataset<F>> {
  let used = false;
  const data = await definition.data({
    get dir() {
      used = true;
      return dir;
    },
  });
  if (dir === undefined || used) return data;
  throw new ConfigError(
    'training definition',
    `got the data folder ${dir}, and data() takes none; write data: ({ dir }) => data.mnist({ dir }), or leave it out`,
  );
}
