/** `lockstep predict`: what a trained model makes of images, tables, arrays and texts, as JSON. */
import { type ColumnRecords, columnRecords, inputRows, joinedRows } from '@lockstep/trainer';
import { type data, type LoadOptions, loadModel, type Prediction, type TrainingDefinition } from 'lockstep';
import { blameConfig, loadConfig } from '../common/config.ts';
import { ConfigFileError, ExitCode } from '../common/failure.ts';
import { trained, type WeightsFlags } from '../common/run.ts';

export interface PredictFlags extends WeightsFlags {
  readonly input: readonly string[];
  readonly text: readonly string[];
  readonly workers: NonNullable<LoadOptions['workers']>;
  readonly kernels: NonNullable<LoadOptions['kernels']>;
}

/** Prints one line per row; gives the exit code. Throws what is wrong with config, weights or inputs. */
export async function predictCommand(config: string | undefined, flags: PredictFlags): Promise<number> {
  const { workers, kernels, input, text } = flags;
  const { weights, record, flags: given } = trained('predict', flags);
  const sources = [...input.map((path) => ({ path })), ...text.map((text) => ({ text }))];
  if (sources.length === 0) {
    throw new ConfigFileError('predict: no input; give --input FILE (.png, .csv, .npy, .txt) or --text TEXT');
  }
  const { definition, file } = await loadConfig(config, given);
  try {
    const columns = record?.data.columns ?? (await columnsOf(definition, given.data));
    const parts = await Promise.all(sources.map((source) => inputRows(definition, columns, source)));
    const all = joinedRows(parts);
    const names = sources.map((source) => ('path' in source ? source.path : source.text));
    const owners = parts.flatMap(({ length }, i) =>
      Array.from({ length }, (_, row) => ({ input: names[i]!, row })),
    );
    const model = await loadModel(definition, { weights, workers, kernels });
    try {
      for (const rows of all ? [all] : parts)
        print(await model.predict(rows), columns, owners.splice(0, rows.length));
    } finally {
      await model.close();
    }
  } catch (error) {
    throw blameConfig(file, error);
  }
  return ExitCode.done;
}

async function columnsOf(definition: TrainingDefinition, dir: string | undefined): Promise<ColumnRecords> {
  if (definition.read) return {};
  return columnRecords((await definition.data({ dir })) as data.Dataset);
}

function print(
  { shape, data: numbers }: Prediction,
  columns: ColumnRecords,
  owners: readonly { readonly input: string; readonly row: number }[],
): void {
  const rowShape = shape.slice(1);
  const width = rowShape.reduce((product, n) => product * n, 1);
  const lines = owners.map((owner, i) => {
    const row = numbers.subarray(i * width, (i + 1) * width);
    const line = {
      type: 'prediction',
      ...owner,
      output: nested(row, rowShape),
      ...classOf(row, shape, columns),
    };
    return `${JSON.stringify(line)}\n`;
  });
  process.stdout.write(lines.join(''));
}

type Numbers = number | Numbers[];

const nested = (numbers: Prediction['data'], shape: readonly number[]): Numbers => {
  const [count, ...rest] = shape;
  if (count === undefined) return numbers[0]!;
  const size = numbers.length / count;
  return Array.from({ length: count }, (_, i) => nested(numbers.subarray(i * size, (i + 1) * size), rest));
};

/** The class with the largest output, where the data's last column has as many classes as there are outputs. */
function classOf(
  row: Prediction['data'],
  shape: readonly number[],
  columns: ColumnRecords,
): { readonly class?: number; readonly label?: string } {
  const target = Object.values(columns).at(-1);
  if (shape.length !== 2 || target?.classes !== row.length || row.length < 2) return {};
  const best = row.indexOf(Math.max(...row));
  if (best < 0) return {};
  const label = target.labels?.[best];
  return { class: best, ...(label !== undefined && { label }) };
}
