/** What `bench scaling` found: the content of report.json. */
import { arch, cpus, platform, release } from 'node:os';
import { cores } from '@lockstep/workers';
import { readVersion } from '../common/version.ts';
import type { NodesScaling, Plan, Scaling } from './rounds.ts';

export interface MachineReport {
  readonly cpu: string;
  readonly system: string;
  readonly node: string;
  /** Of the machine, and those that this process may use. */
  readonly cores: number;
  readonly usable: number;
  /** One core copies from memory to memory: GB/s, read and written. */
  readonly copyGBps: number;
}

export interface ScalingReport {
  readonly type: 'scaling';
  readonly format: 2;
  /** ISO 8601. */
  readonly date: string;
  readonly lockstep: string;
  readonly machine: MachineReport;
  readonly training: {
    readonly name: string;
    /** The config, or null for the embedded digits. */
    readonly config: string | null;
    readonly parameters: number;
    readonly batch: number;
    readonly shards: number;
    readonly kernels: string;
  };
  readonly mode: Plan['mode'];
  readonly rounds: number;
  readonly secondsPerRound: number;
  /** By rising number of workers. */
  readonly results: readonly Scaling[];
  /** By rising number of nodes; none without `--nodes`. */
  readonly nodes: readonly NodesScaling[];
}

export const aboutMachine = (copyGBps: number): MachineReport => ({
  cpu: cpus()[0]?.model.trim() ?? 'unknown',
  system: `${platform()} ${release()} ${arch()}`,
  node: process.versions.node,
  cores: cpus().length,
  usable: cores(),
  copyGBps,
});

export const lockstepVersion = (): string => readVersion();
