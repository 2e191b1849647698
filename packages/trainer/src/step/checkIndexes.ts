import type { IndexLimit } from '@lockstep/compiler';
import type { Dataset } from '@lockstep/data';
import { ConfigError } from '@lockstep/nn';

/** Refuses a data set in which a column that indexes something is out of range. Throws ConfigError. */
export function checkIndexes(limits: readonly IndexLimit[], data: Dataset): void {
  for (const part of data.validation ? [data, data.validation] : [data]) {
    for (const { field, op, limit } of limits) {
      const { data: values, shape } = part.columns[field]!;
      const width = shape.reduce((product, n) => product * n, 1);
      const bad = values.findIndex((value) => !(value >= 0 && value < limit));
      if (bad === -1) continue;
      throw new ConfigError(
        `data set ${part.name}`,
        `column ${field} has ${values[bad]} in row ${Math.floor(bad / width)}, expected 0 to ${limit - 1}, because ` +
          wayOut(op, limit, values[bad]!),
      );
    }
  }
}

/** `op`: with its place in the model before it, `head/crossEntropy`. */
function wayOut(op: string, limit: number, value: number): string {
  if (!/(^|\/)crossEntropy/.test(op)) {
    const size = value < 0 ? '' : `make that ${value + 1} or `;
    return `${op} picks one of ${limit}; ${size}fix the data`;
  }
  return value < 0
    ? `${op} has ${limit} classes; leave such rows out with { ignoreIndex: ${value} } or fix the data`
    : `${op} has ${limit} classes; give the model ${value + 1} outputs or fix the data`;
}
