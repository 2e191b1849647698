/** `lockstep doctor`: what this machine offers, measured. */
import { execFileSync } from 'node:child_process';
import { arch, availableParallelism, cpus, freemem, platform, release, totalmem } from 'node:os';
import { availableVariants, type KernelVariant, resolveVariant } from '@lockstep/kernels';
import { resolveWorkers } from '@lockstep/trainer';
import pc from 'picocolors';
import { ExitCode } from '../common/failure.ts';
import { copyBandwidth, matmulGflops, SIDE } from '../common/measure.ts';
import { readVersion } from '../common/version.ts';
import { table } from '../report/text.ts';

interface Diagnosis {
  readonly type: 'doctor';
  readonly versions: { readonly lockstep: string; readonly node: string; readonly v8: string };
  readonly system: string;
  readonly cpu: string;
  /** Of the machine, those that this process may use, and threads that `--workers auto` starts. */
  readonly cores: { readonly machine: number; readonly usable: number; readonly workers: number };
  /** Bytes. */
  readonly memory: { readonly total: number; readonly free: number };
  /** One core copies from memory to memory: GB/s, read and written. */
  readonly copyGBps: number;
  /** Best first: the first is what `--kernels auto` means. GFLOP/s of a matrix product on one core. */
  readonly kernels: readonly { readonly name: KernelVariant; readonly gflops: number }[];
  /** Why there are none. */
  readonly noNative: string | null;
  readonly compiler: string | null;
  readonly sharedMemory: boolean;
}

export async function doctorCommand({ json = false }: { readonly json?: boolean }): Promise<number> {
  const diagnosis = diagnose();
  process.stdout.write(json ? `${JSON.stringify(diagnosis)}\n` : `${describe(diagnosis).join('\n')}\n`);
  return ExitCode.done;
}

function diagnose(): Diagnosis {
  const gigaflops = (value: number): number => Number(value.toFixed(1));
  return {
    type: 'doctor',
    versions: { lockstep: readVersion(), node: process.versions.node, v8: process.versions.v8 },
    system: `${platform()} ${release()} ${arch()}`,
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cores: { machine: cpus().length, usable: availableParallelism(), workers: resolveWorkers('auto') },
    memory: { total: totalmem(), free: freemem() },
    copyGBps: gigaflops(copyBandwidth()),
    kernels: availableVariants().map((name) => ({ name, gflops: gigaflops(matmulGflops(name)) })),
    noNative: whyNoNative(),
    compiler: findCompiler(),
    sharedMemory: hasSharedMemory(),
  };
}

function whyNoNative(): string | null {
  try {
    resolveVariant('native');
    return null;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

/** The compiler that a build would take: the same candidates in the same order. */
function findCompiler(): string | null {
  for (const name of [process.env.CC, 'cc', 'gcc', 'clang']) {
    if (!name) continue;
    try {
      const output = execFileSync(name, ['--version'], {
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'ignore'],
      });
      return `${name}: ${output.split('\n')[0]}`;
    } catch {
      // The next one, then.
    }
  }
  return null;
}

/** Whether threads can wait for each other on one memory. */
function hasSharedMemory(): boolean {
  const cell = new Int32Array(new SharedArrayBuffer(4));
  return Atomics.wait(cell, 0, 0, 0) === 'timed-out' && 'waitAsync' in Atomics;
}

function describe(diagnosis: Diagnosis): string[] {
  const { versions, system, cpu, cores, memory, copyGBps, kernels, noNative, compiler, sharedMemory } =
    diagnosis;
  const gigabytes = (bytes: number): string => `${(bytes / 2 ** 30).toFixed(1)} GiB`;
  const rows = [
    ['versions', `lockstep ${versions.lockstep}, node ${versions.node}, v8 ${versions.v8}`],
    ['system', system],
    ['cpu', cpu],
    ['cores', `${cores.usable} of ${cores.machine} usable; --workers auto is ${cores.workers}`],
    ['memory', `${gigabytes(memory.total)}, ${gigabytes(memory.free)} free; a core copies ${copyGBps} GB/s`],
    ['shared memory', sharedMemory ? 'yes' : 'no: workers cannot run'],
    ...kernels.map(({ name, gflops }, i) => [
      i === 0 ? 'kernels' : '',
      `${name.padEnd(14)} ${String(gflops).padStart(6)} GFLOP/s${i === 0 ? ` (${SIDE}³ product on one core); auto` : ''}`,
    ]),
    ...(noNative === null ? [] : [['no native kernels', noNative]]),
    ['C compiler', compiler ?? 'none: set CC, or install gcc or clang, for native kernels'],
  ];
  const names = rows.map(([name = '']) => name);
  return table(rows, [], Number.POSITIVE_INFINITY).map((line, i) =>
    line.replace(names[i]!, pc.bold(names[i]!)),
  );
}
