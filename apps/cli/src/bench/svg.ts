/** Charts as SVG text. Colours are classes of the page's style sheet, so that light and dark are its affair. */
import type { TimelineSpan } from './rounds.ts';
import type { Measured } from './statistics.ts';

const [WIDTH, HEIGHT] = [360, 240];
const MARGIN = { left: 52, right: 14, top: 12, bottom: 34 };

export const escapeText = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');

const at = (value: number): string => value.toFixed(1);

const figure = (label: string, height: number, body: readonly string[]): string =>
  `<svg viewBox="0 0 ${WIDTH} ${at(height)}" role="img" aria-label="${escapeText(label)}">${body.join('')}</svg>`;

const text = (x: number, y: number, content: string, kind: string): string =>
  `<text x="${at(x)}" y="${at(y)}" class="${kind}">${escapeText(content)}</text>`;

const rule = (x1: number, y1: number, x2: number, y2: number, kind: string): string =>
  `<line x1="${at(x1)}" y1="${at(y1)}" x2="${at(x2)}" y2="${at(y2)}" class="${kind}"/>`;

/** Round numbers from 0 to at least `most`: 4 to 8 of them. */
export function ticks(most: number): number[] {
  const rough = most / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5, 10].find((factor) => factor * power >= rough) ?? 10);
  return Array.from({ length: Math.ceil(most / step - 1e-9) + 1 }, (_, i) => i * step);
}

const compact = (value: number): string => {
  for (const [unit, letter] of [
    [1e9, 'G'],
    [1e6, 'M'],
    [1e3, 'k'],
  ] as const) {
    if (value >= unit) return `${Number((value / unit).toPrecision(3))} ${letter}`;
  }
  return String(Number(value.toPrecision(3)));
};

export interface Curve {
  /** Names its line: `curve`, or `ideal`, which has no points. */
  readonly kind: 'curve' | 'ideal';
  readonly points: readonly { readonly x: number; readonly y: Measured | number }[];
}

/** Curves over the number of workers, with the interval of the median. */
export function lineChart(label: string, curves: readonly Curve[], unit: string): string {
  const xs = [...new Set(curves.flatMap(({ points }) => points.map(({ x }) => x)))];
  const tops = curves.flatMap(({ points }) => points.map(({ y }) => (typeof y === 'number' ? y : y.high)));
  const marks = ticks(Math.max(...tops) * 1.05);
  const top = marks.at(-1)!;
  const [least, most] = [Math.min(...xs), Math.max(...xs)];
  const across = WIDTH - MARGIN.left - MARGIN.right;
  const down = HEIGHT - MARGIN.top - MARGIN.bottom;
  const px = (x: number): number =>
    MARGIN.left + (most === least ? 0.5 : 0.06 + (0.88 * (x - least)) / (most - least)) * across;
  const py = (y: number): number => MARGIN.top + (1 - y / top) * down;
  const median = (y: Measured | number): number => (typeof y === 'number' ? y : y.median);
  const drawn = curves.map(({ kind, points }) => {
    const path = points.map(({ x, y }) => `${at(px(x))},${at(py(median(y)))}`).join(' ');
    const dots = points.flatMap(({ x, y }) =>
      typeof y === 'number'
        ? []
        : [
            rule(px(x), py(y.low), px(x), py(y.high), 'range'),
            `<circle cx="${at(px(x))}" cy="${at(py(y.median))}" r="4" class="dot"><title>${x} workers: ${compact(y.median)} (${compact(y.low)} to ${compact(y.high)})</title></circle>`,
          ],
    );
    return `<polyline points="${path}" class="${kind}"/>${dots.join('')}`;
  });
  return figure(label, HEIGHT, [
    ...marks.map((y) => rule(MARGIN.left, py(y), WIDTH - MARGIN.right, py(y), 'grid')),
    ...marks.map((y) => text(MARGIN.left - 6, py(y) + 4, compact(y), 'axis end')),
    ...xs.map((x) => text(px(x), HEIGHT - MARGIN.bottom + 16, String(x), 'axis middle')),
    text(MARGIN.left + across / 2, HEIGHT - 4, unit, 'axis middle'),
    ...drawn,
  ]);
}

/** What took how long (ms), in the order of drawing. */
export interface Bar {
  readonly name: string;
  readonly parts: readonly (readonly [kind: string, milliseconds: number])[];
}

/** Parts are drawn one after the other, in the colours of their kinds. */
export function splitChart(label: string, bars: readonly Bar[]): string {
  const total = ({ parts }: Bar): number => parts.reduce((sum, [, time]) => sum + time, 0);
  const marks = ticks(Math.max(...bars.map(total)));
  const [row, bar] = [24, 16];
  const height = MARGIN.top + bars.length * row + MARGIN.bottom;
  const px = (ms: number): number =>
    MARGIN.left + (ms / marks.at(-1)!) * (WIDTH - MARGIN.left - MARGIN.right);
  const drawn = bars.flatMap(({ name, parts }, i) => {
    const y = MARGIN.top + i * row + (row - bar) / 2;
    let from = 0;
    const blocks = parts.map(([kind, time]) => {
      const part = block(px(from), px(from + time), y, bar, kind, time);
      from += time;
      return part;
    });
    return [text(MARGIN.left - 6, y + bar - 4, name, 'axis end'), ...blocks];
  });
  return figure(label, height, [...timeAxis(marks, px, height), ...drawn]);
}

/** What each worker was at, moment by moment. */
export function timelineChart(label: string, spans: readonly TimelineSpan[]): string {
  const workers = 1 + Math.max(0, ...spans.map(({ worker }) => worker));
  const marks = ticks(Math.max(...spans.map(({ to }) => to)));
  const [row, bar] = [24, 18];
  const height = MARGIN.top + workers * row + MARGIN.bottom;
  const px = (ms: number): number =>
    MARGIN.left + (ms / marks.at(-1)!) * (WIDTH - MARGIN.left - MARGIN.right);
  const lane = (worker: number): number => MARGIN.top + worker * row + (row - bar) / 2;
  return figure(label, height, [
    ...timeAxis(marks, px, height),
    ...Array.from({ length: workers }, (_, worker) =>
      text(MARGIN.left - 6, lane(worker) + bar - 5, `worker ${worker}`, 'axis end small'),
    ),
    ...spans.map(({ worker, activity, from, to }) =>
      block(px(from), px(to), lane(worker), bar, activity, to - from),
    ),
  ]);
}

const timeAxis = (marks: readonly number[], px: (ms: number) => number, height: number): string[] => [
  ...marks.map((ms) => rule(px(ms), MARGIN.top, px(ms), height - MARGIN.bottom, 'grid')),
  ...marks.map((ms) => text(px(ms), height - MARGIN.bottom + 14, compact(ms), 'axis middle')),
  text((MARGIN.left + WIDTH - MARGIN.right) / 2, height - 4, 'milliseconds', 'axis middle'),
];

const block = (
  from: number,
  to: number,
  y: number,
  height: number,
  kind: string,
  milliseconds: number,
): string =>
  `<rect x="${from.toFixed(2)}" y="${at(y)}" width="${(to - from).toFixed(2)}" height="${at(height)}" class="${kind}"><title>${kind}: ${milliseconds.toPrecision(3)} ms</title></rect>`;
