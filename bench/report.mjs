/**
 * The one report format of all benchmarks: interleaved rounds, medians, and a table in Markdown below a line that says
 * on what machine and when. `bench/RESULTS.md` is made of such tables.
 */
import { availableParallelism, cpus } from 'node:os';

/**
 * @typedef {object} Case
 * @property {string} name
 * @property {() => Figure | Promise<Figure>} measure one round: its figure, for instance samples per second
 * @property {number} [rounds] no more than so many, and none before the first: for cases that are slow, and warm
 */

/** One number, or several, each with a name of its own. @typedef {number | Readonly<Record<string, number>>} Figure */

/**
 * @typedef {object} Result
 * @property {string} name
 * @property {number} median
 * @property {number} min
 * @property {number} max
 */

/**
 * Measures all cases round by round, so that a noisy minute hits each of them alike. One round before the first is not
 * counted: code gets compiled, memory and caches get warm.
 * @param {readonly Case[]} cases
 * @param {number} rounds
 * @returns {Promise<Result[]>} in the order of the cases
 */
export async function interleave(cases, rounds) {
  /** @type {Map<string, number[]>[]} */
  const figures = cases.map(() => new Map());
  for (let round = -1; round < rounds; round++) {
    for (const [i, { name, measure, rounds: most }] of cases.entries()) {
      if (most !== undefined && (round < 0 || round >= most)) continue;
      const figure = await measure();
      if (round < 0) continue;
      const named = typeof figure === 'number' ? [[name, figure]] : prefixed(name, figure);
      for (const [key, value] of /** @type {[string, number][]} */ (named)) {
        figures[i]?.set(key, [...(figures[i]?.get(key) ?? []), value]);
      }
    }
  }
  return figures.flatMap((found) => [...found].map(([name, values]) => summarise(name, values)));
}

/** @param {string} name @param {Readonly<Record<string, number>>} figures @returns {[string, number][]} */
const prefixed = (name, figures) =>
  Object.entries(figures).map(([key, value]) => [name === '' ? key : `${name}: ${key}`, value]);

/**
 * @param {string} name
 * @param {readonly number[]} figures at least one
 * @returns {Result}
 */
export function summarise(name, figures) {
  const sorted = figures.toSorted((a, b) => a - b);
  return { name, median: median(sorted), min: sorted.at(0) ?? Number.NaN, max: sorted.at(-1) ?? Number.NaN };
}

/** @param {readonly number[]} sorted */
function median(sorted) {
  const middle = sorted.length >> 1;
  const [low = Number.NaN, high = low] = sorted.slice(sorted.length % 2 ? middle : middle - 1, middle + 1);
  return (low + high) / 2;
}

/** One line: processor, cores, Node, date. */
export function machine() {
  const model = cpus()[0]?.model.trim() ?? process.arch;
  const date = new Date().toISOString().slice(0, 10);
  return `${model}, ${availableParallelism()} cores, ${process.platform}, Node ${process.versions.node}, ${date}`;
}

/**
 * A Markdown table. Numbers are written with three significant digits, below the thousands without an exponent.
 * @param {readonly string[]} header
 * @param {readonly (readonly (string | number)[])[]} rows
 */
export function table(header, rows) {
  const line = (/** @type {readonly (string | number)[]} */ cells) => `| ${cells.map(cell).join(' | ')} |`;
  return [line(header), line(header.map(() => '---')), ...rows.map(line)].join('\n');
}

/** @param {string | number} value */
function cell(value) {
  if (typeof value === 'string') return value;
  return Math.abs(value) >= 1000
    ? Math.round(value).toLocaleString('en')
    : String(Number(value.toPrecision(3)));
}

/**
 * Prints a whole report: title, machine, table.
 * @param {string} title
 * @param {string} unit of all figures
 * @param {readonly Result[]} results
 */
export function print(title, unit, results) {
  const rows = results.map(({ name, median, min, max }) => [name, median, min, max]);
  console.log(`## ${title}\n\n${machine()}\n\n${table(['', `median (${unit})`, 'min', 'max'], rows)}\n`);
}
