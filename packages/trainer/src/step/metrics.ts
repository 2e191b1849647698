/** What a step measures: sums over rows, and the numbers that come of them. */
import type { SumMetric } from '@lockstep/nn';
import type { MetricDefinition } from '../define/definition.ts';

/** By name; `K`: the metrics of the definition. */
export type Metrics<K extends string = string> = Readonly<Record<K, number>>;
/** By metric: rows of numbers, such as a confusion matrix. */
export type Tables = Readonly<Record<string, readonly (readonly number[])[]>>;

type Definitions = Readonly<Record<string, MetricDefinition<never, never>>>;

/** A metric made of sums, or undefined for a mean over the rows. */
export const sumMetricOf = (metric: Definitions[string]): SumMetric | undefined =>
  typeof metric === 'function' ? undefined : metric.by;

/** How many sums a batch gives: one of the loss, then those of each metric. */
export const countSums = (metrics: object): number =>
  Object.values(metrics as Definitions).reduce((sum, metric) => sum + (sumMetricOf(metric)?.size ?? 1), 1);

/** What was measured on some rows. */
export interface Measures {
  readonly loss: number;
  readonly metrics: Metrics;
  readonly tables?: Tables;
}

/** Loss and metrics from the sums over `rows` rows; with the tables of those that have one. */
export function readSums(metrics: object, sums: ArrayLike<number>, rows: number): Measures {
  let at = 1;
  const values: Record<string, number> = {};
  const tables: Record<string, Tables[string]> = {};
  for (const [name, metric] of Object.entries(metrics as Definitions)) {
    const by = sumMetricOf(metric);
    if (!by) {
      values[name] = sums[at++]! / rows;
      continue;
    }
    const own = Array.from({ length: by.size }, (_, i) => sums[at + i]!);
    at += by.size;
    values[name] = by.compute(own);
    if (by.table) tables[name] = by.table(own);
  }
  const hasTables = Object.keys(tables).length > 0;
  return { loss: sums[0]! / rows, metrics: values, ...(hasTables && { tables }) };
}
