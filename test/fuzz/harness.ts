/** The kernels under AddressSanitizer and UBSan, as a process that is fed programs: `packages/kernels/fuzz/harness.c`. */
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Readable, Writable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { instructionExtents, type Program } from '@lockstep/kernels';

const SCRIPT = fileURLToPath(new URL('../../packages/kernels/scripts/build-harness.mjs', import.meta.url));
const MAGIC = 0x4c46535a;
/** What a region is filled with (`fill` in harness.c). */
const HOLDS = { numbers: 0, indexes: 1, anyBits: 2, zeros: 3, mixture: 4, nothing: 5 } as const;

export type Built = { readonly path: string } | { readonly reason: string };

/** Builds the harness, unless it is there. Says why there is none on a machine without a compiler or the sanitizers. */
export async function buildHarness(): Promise<Built> {
  const script = spawn(process.execPath, [SCRIPT], { stdio: ['ignore', 'pipe', 'inherit'] });
  const [line, [status]] = await Promise.all([text(script.stdout), once(script, 'close')]);
  return status === 0 ? { path: line.trim() } : { reason: line.trim() };
}

export interface HarnessReport {
  readonly programs: number;
  readonly instructions: number;
  /** Instructions times variants. */
  readonly runs: number;
  readonly variants: readonly string[];
}

const CHUNK = 1 << 20;

export class Harness {
  readonly #process: ChildProcessByStdio<Writable, Readable, Readable>;
  readonly #outputs: Promise<[out: string, error: string]>;
  readonly #ended: Promise<unknown[]>;
  #words = new Int32Array(CHUNK / 4);
  #used = 0;
  #hasEnded = false;

  constructor(path: string) {
    this.#process = spawn(path, {
      stdio: ['pipe', 'pipe', 'pipe'],
      env: { ASAN_OPTIONS: 'detect_leaks=0', UBSAN_OPTIONS: 'halt_on_error=1:print_stacktrace=1' },
    });
    const { stdin, stdout, stderr } = this.#process;
    // It ends at the first report, and does not read on.
    stdin.on('error', () => {});
    this.#outputs = Promise.all([text(stdout), text(stderr)]);
    this.#ended = once(this.#process, 'close').finally(() => {
      this.#hasEnded = true;
    });
  }

  /** Whether it reported something, or crashed. */
  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  /** A program that was validated, with its regions filled at random. */
  async run({ regions, code, starts }: Program, seed: number): Promise<void> {
    this.#push(MAGIC, regions.length, starts.length, seed);
    regions.forEach(({ name, bytes }, r) => {
      const isScratch = /scratch/.test(name);
      this.#push(bytes, isScratch ? HOLDS.nothing : (seed + r) % 5);
    });
    for (const start of starts) {
      const { words, extents } = instructionExtents(code, start);
      this.#push(words, extents.length, ...code.subarray(start, start + words));
      for (const { address, bytes, access } of extents)
        this.#push(address.region, address.offset, bytes, access === 'write' ? 1 : 0);
    }
    if (this.#used * 4 > CHUNK / 2) await this.#flush();
  }

  /** Ends the input and gives what was run. Throws an Error with the report where there is one. */
  async finish(): Promise<HarnessReport> {
    await this.#flush();
    this.#process.stdin.end();
    const [status, signal] = await this.#ended;
    const [out, error] = await this.#outputs;
    if (status !== 0)
      throw new Error(
        `harness: ended with ${status ?? signal}\n${error.slice(0, 6000)}\n${error.slice(-300)}`,
      );
    return JSON.parse(out) as HarnessReport;
  }

  #push(...words: number[]): void {
    if (this.#used + words.length > this.#words.length) {
      const larger = new Int32Array(2 * (this.#used + words.length));
      larger.set(this.#words);
      this.#words = larger;
    }
    this.#words.set(words, this.#used);
    this.#used += words.length;
  }

  async #flush(): Promise<void> {
    const bytes = new Uint8Array(this.#words.buffer.slice(0, this.#used * 4));
    this.#used = 0;
    if (bytes.length === 0 || this.#hasEnded) return;
    if (!this.#process.stdin.write(bytes)) await Promise.race([this.#drained(), this.#ended]);
  }

  /** Also when the process has ended: then `finish` says why. */
  async #drained(): Promise<void> {
    await once(this.#process.stdin, 'drain').catch(() => {});
  }
}
