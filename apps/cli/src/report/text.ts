/** Numbers and tables for people. */

/** 1234567 → 1,234,567. */
export const thousands = (value: number): string =>
  Math.round(value)
    .toString()
    .replace(/\B(?=(\d{3})+$)/g, ',');

/** Four significant digits, and all before the point: losses and metrics. */
export function number(value: number): string {
  const size = Math.abs(value);
  if (size >= 9999.5 && size < 1e15) return thousands(value);
  return value !== 0 && size < 1e-3 ? value.toExponential(2) : value.toPrecision(4);
}

/** 7 s, 1:05, 2:07:00. */
export function duration(seconds: number): string {
  if (!Number.isFinite(seconds)) return '?';
  const whole = Math.max(0, Math.round(seconds));
  const two = (value: number): string => String(Math.floor(value)).padStart(2, '0');
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)}:${two(whole % 60)}`;
  return `${Math.floor(whole / 3600)}:${two((whole % 3600) / 60)}:${two(whole % 60)}`;
}

const BYTE_UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];

/** 10737418240 → 10.0 GiB. */
export function bytes(count: number): string {
  const power = Math.min(BYTE_UNITS.length - 1, Math.floor(Math.log2(Math.max(count, 1)) / 10));
  return `${power === 0 ? count : (count / 1024 ** power).toFixed(1)} ${BYTE_UNITS[power]}`;
}

export const plural = (count: number, noun: string): string =>
  `${thousands(count)} ${noun}${count === 1 ? '' : 's'}`;

/** Cut to a width, with a sign that it was. */
export const fit = (text: string, width: number): string =>
  text.length <= width ? text : width < 1 ? '' : `${text.slice(0, width - 1)}…`;

const GAP = '  ';

/**
 * Rows of cells as aligned lines of at most `width` characters: the widest column is cut where they would be longer.
 * `right`: columns that are numbers.
 */
export function table(rows: readonly (readonly string[])[], right: readonly number[], width = 80): string[] {
  const count = Math.max(0, ...rows.map((row) => row.length));
  const widths = Array.from({ length: count }, (_, i) => Math.max(...rows.map((row) => row[i]?.length ?? 0)));
  const excess = widths.reduce((sum, each) => sum + each, GAP.length * (count - 1)) - width;
  if (excess > 0) {
    const widest = widths.indexOf(Math.max(...widths));
    widths[widest] = Math.max(8, widths[widest]! - excess);
  }
  return rows.map((row) =>
    widths
      .map((cellWidth, i) => {
        const cell = fit(row[i] ?? '', cellWidth);
        return right.includes(i) ? cell.padStart(cellWidth) : cell.padEnd(cellWidth);
      })
      .join(GAP)
      .trimEnd(),
  );
}
