/** What a node tells: where it is connected, what it receives, how much it computed. */
import type { NodeOutcome, NodeReport } from 'lockstep';
import pc from 'picocolors';
import { ProgressLine } from './progress.ts';
import { fit, plural, thousands } from './text.ts';

const MEGABYTE = 1e6;
const CELLS = 24;

interface Options {
  readonly json: boolean;
  readonly quiet: boolean;
  readonly url: string;
}

export class NodeReporter {
  readonly #stream: NodeJS.WriteStream;
  readonly #line: ProgressLine;
  readonly #options: Options;
  #shards = 0;
  #batches = 0;
  /** The last reason: the same one again and again is told once. */
  #trouble = '';
  #isLeaving = false;

  constructor(stream: NodeJS.WriteStream, options: Options) {
    this.#stream = stream;
    this.#line = new ProgressLine(stream);
    this.#options = options;
  }

  report(report: NodeReport): void {
    if (report.type === 'computing') {
      this.#shards += report.shards;
      this.#batches++;
    }
    if (this.#options.json) this.#tell(report);
    else if (!this.#options.quiet) this.#show(report);
  }

  /** The first batch and then none: there are thousands a second. */
  #tell(report: NodeReport): void {
    if (report.type === 'computing' && this.#batches > 1) return;
    if (report.type === 'receiving' && report.bytes < report.of) return;
    this.#stream.write(`${JSON.stringify(report)}\n`);
  }

  #show(report: NodeReport): void {
    switch (report.type) {
      case 'connected':
        this.#trouble = '';
        this.#line.print(`connected to ${report.peer}`);
        break;
      case 'disconnected':
        // Of a node that leaves, it is the end.
        if (report.code !== this.#trouble && !this.#isLeaving)
          this.#line.print(pc.yellow(`${report.message}; trying again`));
        this.#trouble = report.code;
        break;
      case 'receiving':
        if (report.bytes < report.of) this.#line.draw(() => receivingLine(report));
        else this.#line.print(receivingLine(report));
        break;
      case 'ready':
        this.#line.print('ready');
        break;
      case 'computing':
        this.#line.draw(() =>
          fit(
            `batch ${thousands(report.step + 1)}: ${plural(report.shards, 'shard')}  ${plural(this.#batches, 'batch').replace('batchs', 'batches')} in all`,
            this.#line.width,
          ),
        );
    }
  }

  leaving(): void {
    this.#isLeaving = true;
    if (!this.#options.json && !this.#options.quiet)
      this.#line.print('leaving: finishing what is under way (once more: stop at once)');
  }

  outcome({ reason, digest }: NodeOutcome): void {
    const { json } = this.#options;
    const [batches, shards] = [this.#batches, this.#shards];
    if (json) {
      this.#stream.write(`${JSON.stringify({ type: 'done', reason, digest, batches, shards })}\n`);
      return;
    }
    const share = `${plural(shards, 'shard')} of ${thousands(batches)} batches computed here`;
    const how = reason === 'left' ? 'left' : digest === null ? 'the run ended' : 'the run is done';
    this.#line.print(`${how}: ${share}`, ...(digest === null ? [] : [`${pc.bold('digest')}  ${digest}`]));
  }

  end(): void {
    this.#line.clear();
  }
}

/** `data  ████████────────  45 %  12.3 of 26.4 MB`. */
export function receivingLine({ what, bytes, of }: NodeReport & { type: 'receiving' }): string {
  const share = of === 0 ? 1 : bytes / of;
  const done = Math.floor(share * CELLS);
  const bar = '█'.repeat(done) + '─'.repeat(CELLS - done);
  const percent = `${Math.floor(share * 100)} %`.padStart(5);
  const [unit, size] = of < MEGABYTE ? ['kB', 1e3] : ['MB', MEGABYTE];
  return `${what.padEnd(7)}  ${bar}  ${percent}  ${(bytes / size).toFixed(1)} of ${(of / size).toFixed(1)} ${unit}`;
}
