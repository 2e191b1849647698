/** What a step measures: sums over rows, and the numbers that come of them. */
import type { SumMetric } from '@lockstep/nn';
import type { MetricDefinition } from './definition.ts';
import type { Metrics } from './events.ts';

type Definitions = Readonly<Record<string, MetricDefinition<never, never>>>;

/** A metric made of sums, or undefined for a mean over the rows. */
export const sumMetricOf = (metric: Definitions[string]): SumMetric | undefined =>
  typeof metric === 'function' ? undefined : metric.by;

/** How many sums a batch gives: one of the loss, then those of each metric. */
export const countSums = (metrics: object): number =>
  Object.values(metrics as Definitions).reduce((sum, metric) => sum + (sumMetricOf(metric)?.size ?? 1), 1);

/** Loss and metrics from the sums over `rows` rows. */
export function readSums(
  metrics: object,
  sums: ArrayLike<number>,
  rows: number,
): { loss: number; metrics: Metrics } {
  let at = 1;
  const values = Object.entries(metrics as Definitions).map(([name, metric]) => {
    const by = sumMetricOf(metric);
    if (!by) return [name, sums[at++]! / rows];
    const own = Array.from({ length: by.size }, (_, i) => sums[at + i]!);
    at += by.size;
    return [name, by.compute(own)];
  });
  return { loss: sums[0]! / rows, metrics: Object.fromEntries(values) as Metrics };
}
