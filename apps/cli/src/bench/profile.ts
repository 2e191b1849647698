/** `--profile` of `lockstep train` and `serve`: a trace of a few steps, and the kernels that cost the most. */
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import type { ClusterProfile } from '@lockstep/cluster';
import type { KernelVariant } from '@lockstep/kernels';
import type { KernelCost, ProfileTrace } from '@lockstep/trainer';
import pc from 'picocolors';
import { ConfigFileError } from '../common/failure.ts';
import { copyBandwidth, matmulGflops } from '../common/measure.ts';
import { table, thousands } from '../report/text.ts';
import { short } from './tables.ts';

const SHOWN = 10;

/** What becomes a file, and a table. */
type Source = Pick<ProfileTrace | ClusterProfile, 'batches' | 'milliseconds' | 'costs' | 'trace'>;

/** A profile that is being made, and becomes a file. */
export class ProfileFile<T extends Source = Source> {
  readonly profile: T;
  readonly #file: string;
  readonly #isNew: boolean;

  /** Throws ConfigFileError where the file cannot be written. */
  constructor(file: string, profile: T) {
    this.#file = file;
    this.profile = profile;
    this.#isNew = !existsSync(file);
    try {
      mkdirSync(dirname(file), { recursive: true });
      writeFileSync(file, '', { flag: 'a' });
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      throw new ConfigFileError(
        `profile: cannot write ${file} (${reason}); give the path of a file to --profile`,
      );
    }
  }

  /** Nothing came of it. */
  abandon(): void {
    if (this.#isNew) rmSync(this.#file, { force: true });
  }

  /** Writes the file, measures the machine, and gives a table for people. */
  finish(name: string, kernels: KernelVariant): string[] {
    const { profile } = this;
    if (profile.batches === 0) {
      this.abandon();
      return ['', pc.yellow('no profile: the run ended before there was one')];
    }
    const costs = profile.costs();
    const machine = { gflops: matmulGflops(kernels), copyGBps: copyBandwidth() };
    const trace = { ...profile.trace(name), otherData: { kernels, machine, costs } };
    writeFileSync(this.#file, `${JSON.stringify(trace)}\n`);
    return [
      '',
      ...costTable(costs, profile, machine),
      '',
      pc.dim(`share: of the time of all workers in ${thousands(profile.batches)} batches. peak: of the`),
      pc.dim(
        `${short(machine.gflops)} GFLOP/s of a large product on one core. copy: of the ${short(machine.copyGBps)} GB/s`,
      ),
      pc.dim('of a copy in memory; caches are faster.'),
      `trace: ${this.#file} (open it in ui.perfetto.dev)`,
    ];
  }
}

function costTable(
  costs: readonly KernelCost[],
  { milliseconds }: Source,
  machine: { readonly gflops: number; readonly copyGBps: number },
): string[] {
  const percent = (share: number): string => `${(100 * share).toFixed(0)} %`;
  const rows = costs.slice(0, SHOWN).map((cost) => {
    const gflops = cost.flops / cost.milliseconds / 1e6;
    const gbps = cost.bytes / cost.milliseconds / 1e6;
    return [
      cost.activity === 'update' ? `update: ${cost.label}` : cost.label,
      cost.kernel,
      short((1000 * cost.milliseconds) / cost.calls),
      percent(cost.milliseconds / milliseconds),
      ...(gflops > 0 ? [short(gflops), percent(gflops / machine.gflops)] : ['', '']),
      short(gbps),
      percent(gbps / machine.copyGBps),
    ];
  });
  const head = ['where', 'kernel', 'µs a call', 'share', 'GFLOP/s', 'peak', 'GB/s', 'copy'];
  const [first = '', ...lines] = table([head, ...rows], [2, 3, 4, 5, 6, 7]);
  return [pc.dim(first), ...lines];
}
