/** A household's power, made up: kilowatts for every hour of two years, with habits, seasons, weather and luck. */
import { data, rand, randn, withRandom } from 'lockstep';

const HOURS = 24 * 364 * 2;
/** Hours that the forecast sees, and how far ahead it looks. */
export const [SEEN, AHEAD] = [48, 24];

export interface Hour {
  readonly power: number;
  /** Degrees Celsius. */
  readonly temperature: number;
}

/** The same seed gives the same series. */
export function household(seed: number): Hour[] {
  const [luck, events] = withRandom({ seed }, () => [randn([HOURS, 2]).data(), rand([HOURS]).data()]);
  let weather = 0;
  let mood = 0;
  return Array.from({ length: HOURS }, (_, t) => {
    const [hour, day] = [t % 24, Math.floor(t / 24)];
    const year = Math.cos((2 * Math.PI * (day % 364)) / 364);
    // Weather and mood wander: what they were tells what they will be.
    weather = 0.98 * weather + 0.7 * luck[2 * t]!;
    mood = 0.9 * mood + 0.12 * luck[2 * t + 1]!;
    const temperature = 11 - 9 * year + 3 * Math.sin((2 * Math.PI * (hour - 9)) / 24) + weather;
    const isWeekend = day % 7 >= 5;
    const bump = (at: number, width: number): number => Math.exp(-(((hour - at) / width) ** 2));
    const habits = isWeekend
      ? 0.9 * bump(11, 3) + 1.1 * bump(19, 3)
      : 0.8 * bump(7, 1.5) + 1.4 * bump(19, 2.5);
    const heating = 0.06 * Math.max(0, 16 - temperature);
    const oven = events[t]! < 0.03 ? 1.2 : 0;
    return { power: Math.max(0.1, 0.25 + habits * (1 + mood) + heating + oven), temperature };
  });
}

/** What is known of an hour, each about −1 … 1: power, temperature, hour and day on a circle, weekend, night. */
export const FEATURES = 8;
export function featuresOf(
  { power, temperature }: Hour,
  t: number,
  mean: number,
  deviation: number,
): number[] {
  const circle = (period: number): number[] => {
    const angle = (2 * Math.PI * (t % period)) / period;
    return [Math.sin(angle), Math.cos(angle)];
  };
  const isWeekend = Math.floor(t / 24) % 7 >= 5;
  return [
    (power - mean) / deviation,
    (temperature - 11) / 12,
    ...circle(24),
    ...circle(168),
    isWeekend ? 1 : 0,
    1,
  ];
}

/** Windows of two days with the power a day after them; the last tenth of the time is held back. */
export function windows(hours: readonly Hour[]) {
  const split = Math.floor(0.9 * hours.length);
  const trained = hours.slice(0, split).map(({ power }) => power);
  const mean = trained.reduce((sum, power) => sum + power, 0) / split;
  const deviation = Math.sqrt(trained.reduce((sum, power) => sum + (power - mean) ** 2, 0) / split);
  const features = hours.map((hour, t) => featuresOf(hour, t, mean, deviation));
  const part = (from: number, to: number, stride: number, options = {}) => {
    const starts: number[] = [];
    for (let t = from; t + SEEN + AHEAD <= to; t += stride) starts.push(t);
    const x = Float32Array.from(starts.flatMap((t) => features.slice(t, t + SEEN).flat()));
    const targets = starts.map((t) => features[t + SEEN + AHEAD - 1]![0]!);
    // The naive forecast: tomorrow at this hour will be as today at this hour.
    const naive = starts.map((t) => features[t + SEEN - 1]![0]!);
    const dataset = data.arrays(
      {
        x: data.column(x, { shape: [SEEN, FEATURES] }),
        y: data.column(Float32Array.from(targets), { shape: [1] }),
      },
      options,
    );
    const error = naive.reduce((sum, value, i) => sum + Math.abs(value - targets[i]!), 0) / naive.length;
    return { dataset, naiveError: error * deviation };
  };
  const held = part(split, hours.length, 1);
  const { dataset } = part(0, split, 1, { validation: held.dataset });
  return { dataset, naiveError: held.naiveError, deviation };
}
