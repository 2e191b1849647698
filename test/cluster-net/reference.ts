/** What a run reports that no fault may change, by epoch and step; a run under faults is compared with it event by event. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { events } from '../command.ts';
import type { Told } from './process.ts';

type Kept = Readonly<Record<string, unknown>>;

/** The fields of an event that depend on the definition alone; undefined for events that depend on more. */
function keptOf(event: Told): Kept | undefined {
  const { type, epoch, step, loss, metrics, learningRate, validation } = event;
  switch (type) {
    case 'step':
      return { type, epoch, step, loss, metrics, learningRate };
    case 'epoch':
      return { type, epoch, step, loss, metrics, validation };
    case 'earlyStop':
      return { type, epoch, bestEpoch: event.bestEpoch, value: event.value };
    case 'done':
      if (event.interrupted) return undefined;
      return { type, epoch, step, loss, metrics, validation, weightsDigest: event.weightsDigest };
    default:
      return undefined;
  }
}

const allKept = (all: readonly Told[]): Kept[] => all.map(keptOf).filter((event) => event !== undefined);

const keyOf = ({ type, step }: Kept): string =>
  type === 'step' || type === 'epoch' ? `${type} ${step}` : String(type);

/** A run without faults, on one machine. */
export class Reference {
  readonly #expected: ReadonlyMap<string, string>;
  /** Learning rates, each once, in order. */
  readonly learningRates: readonly number[];

  /** @param run all its events */
  constructor(run: readonly Told[]) {
    const kept = allKept(run);
    this.#expected = new Map(kept.map((event) => [keyOf(event), JSON.stringify(event)]));
    this.learningRates = [
      ...new Set(run.filter(({ type }) => type === 'step').map(({ learningRate }) => Number(learningRate))),
    ];
  }

  has(type: 'earlyStop' | 'done'): boolean {
    return this.#expected.has(type);
  }

  /** How an event differs from the expected one; undefined where it does not. Every bit of its numbers counts. */
  difference(event: Told): string | undefined {
    const kept = keptOf(event);
    if (kept === undefined) return undefined;
    const [key, got] = [keyOf(kept), JSON.stringify(kept)];
    const expected = this.#expected.get(key);
    // A run that is interrupted ends with the epoch as far as it got.
    if (kept.type === 'epoch' && expected === undefined) return undefined;
    return got === expected ? undefined : `${key}: got ${got}, expected ${expected}`;
  }

  /** The same for `metrics.jsonl` of a finished run: each step and epoch once and in order, whoever wrote it. */
  fileDifference(out: string): string | undefined {
    const lines = allKept(events(readFileSync(join(out, 'metrics.jsonl'), 'utf8')));
    const keys = (all: Iterable<string>): string => [...all].filter((key) => key !== 'done').join('\n');
    if (keys(lines.map(keyOf)) !== keys(this.#expected.keys()))
      return `metrics.jsonl: got ${lines.length} events, expected ${this.#expected.size - 1}, each once and in order`;
    for (const line of lines) {
      const difference = this.difference(line as Told);
      if (difference !== undefined) return `metrics.jsonl, ${difference}`;
    }
    return undefined;
  }
}
